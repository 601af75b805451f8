import t from "tap";
import { packageClosure } from "../../../cli/experiments/guest/closure.ts";

const output = `server
  PreDepends: init-helpers
  Depends: libc
  Depends: tools
 |Depends: mail-a
 |Depends: mail-b
  Depends: <mail-agent>
    mail-c
  Depends: <debconf-2>
    cdebconf
    debconf
libc
  Depends: libgcc
libgcc
  Depends: libc
tools
 |Depends: <editor>
    vi
    ed
  Depends: nano
init-helpers
mail-a
mail-b
mail-c
<mail-agent>
<debconf-2>
cdebconf
debconf
  Depends: <nobody-has-it>
<editor>
vi
ed
nano
other
`;

t.test("a closure has what each package needs, and what that needs", async (t) => {
  t.strictSame(packageClosure(["libc"], output), ["libc", "libgcc"], "a circle ends");
  t.strictSame(packageClosure(["other"], output), ["other"]);
  t.strictSame(
    packageClosure(["server"], output),
    ["cdebconf", "init-helpers", "libc", "libgcc", "mail-a", "server", "tools", "vi"],
    "of several that would do, the first one",
  );
  t.strictSame(packageClosure(["debconf"], output), ["debconf"], "what nobody provides is left out");
});

t.test("a package that apt does not know is named", async (t) => {
  t.throws(() => packageClosure(["libc", "nonesuch"], output), { message: "apt knows no package nonesuch" });
  t.throws(() => packageClosure(["libc"], ""), { message: "apt knows no package libc" });
});
