import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { projectRoot } from "./project-files.ts";

const script = pathToFileURL(join(projectRoot, ".ci", "qemu-backports.mjs")).href;
const DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n';
const MACHINES = "pc-i440fx-7.2 Standard PC\\npc-q35-10.0 Standard PC\\n";

/** apt-get that has packages with nothing in them, and writes down how it is called. */
const APT_GET = `#!/bin/sh
echo "$@" >>"$CALLS"
case "$*" in
  indextargets*) printf 'bookworm contrib http://mirror.test/contrib\\nbookworm main http://mirror.test/debian\\n' ;;
  *update*) cp "$(echo "$*" | sed 's/.*SourceList=\\([^ ]*\\).*/\\1/')" "$CALLS.sources" ;;
  *download*) touch one.deb two.deb ;;
esac
`;

/** dpkg that unpacks a QEMU with these machines. */
function dpkg(machines: string): string {
  const program = `#!/bin/sh\\nprintf "${machines.replaceAll("\\", "\\\\\\\\")}"\\n[ "$1" = -L ] || exit 3\\n`;
  return `#!/bin/sh\nmkdir -p "$3/usr/bin"\nprintf '${program}' >"$3/usr/bin/qemu-system-x86_64"\nchmod +x "$3/usr/bin/qemu-system-x86_64"\n`;
}

interface Outcome {
  readonly status: number | null;
  readonly stderr: string;
  readonly folder: string;
  readonly calls: string;
}

/** Runs one of the script's functions with programs of the test's own in a folder of the test's own. */
function run(
  t: Test,
  call: "unpackBackportedQemu" | "tryToUnpackBackportedQemu",
  programs: { readonly aptGet?: string; readonly dpkg?: string; readonly release?: string },
): Outcome {
  const folder = t.testdir({
    bin: { "apt-get": programs.aptGet ?? APT_GET, dpkg: programs.dpkg ?? dpkg(MACHINES) },
    "os-release": programs.release ?? DEBIAN_12,
    calls: "",
  });
  const source = `
    import { chmodSync } from "node:fs";
    import { runScript } from ${JSON.stringify(new URL("failure.mjs", script).href)};
    import { ${call} } from ${JSON.stringify(script)};
    for (const name of ["apt-get", "dpkg"]) chmodSync("bin/" + name, 0o755);
    await runScript("setup", () => ${call}(process.cwd() + "/out/qemu", "os-release"));
  `;
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", source], {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: `${join(folder, "bin")}:${process.env["PATH"]}`, CALLS: join(folder, "calls") },
  });
  return { status, stderr, folder, calls: readFileSync(join(folder, "calls"), "utf8") };
}

t.test("QEMU is unpacked beside the system's with apt's own lists and checks", async (t) => {
  const { status, stderr, folder, calls } = run(t, "unpackBackportedQemu", {});
  t.equal(status, 0, stderr);
  t.strictSame(readdirSync(join(folder, "out")), ["qemu"], "nothing else is left");
  const program = join(folder, "out/qemu/bin/qemu-system-x86_64");
  const shown = spawnSync(program, ["-machine", "help"], { encoding: "utf8" });
  t.match(shown.stdout, "pc-q35-10.0", "the program starts the unpacked one, with its firmware");
  const sources = readFileSync(join(folder, "calls.sources"), "utf8");
  t.match(sources, /^deb \[signed-by=\/usr\/share\/keyrings\/debian-archive-keyring\.gpg\] /);
  t.match(sources, "http://mirror.test/debian bookworm-backports main", "from the system's own mirror");
  t.match(calls, /SourceParts=\/dev\/null .*download qemu-system-x86\/bookworm-backports/);
  t.notMatch(calls, /install|allow-|unauthenticated/i, "nothing is installed, nothing goes unchecked");
});

t.test("where apt fails, its reason is told and nothing is left", async (t) => {
  const aptGet = '#!/bin/sh\necho "E: Could not resolve mirror.test" >&2\nexit 100\n';
  const failed = run(t, "unpackBackportedQemu", { aptGet });
  t.equal(failed.status, 1);
  t.match(
    failed.stderr,
    /setup: Cannot get QEMU 10\.0 of bookworm-backports: apt-get: E: Could not resolve mirror\.test\n$/,
  );
  t.strictSame(readdirSync(join(failed.folder, "out")), []);
});

t.test("where it is optional, tests that are skipped can tell why", async (t) => {
  const aptGet = '#!/bin/sh\necho "E: no network" >&2\nexit 100\n';
  const { status, stderr, folder } = run(t, "tryToUnpackBackportedQemu", { aptGet });
  t.equal(status, 0);
  t.match(stderr, /E: no network; tests with it are skipped\n$/);
  t.strictSame(readdirSync(join(folder, "out")), ["qemu.missing"]);
  t.match(readFileSync(join(folder, "out/qemu.missing"), "utf8"), /^Cannot get QEMU 10\.0 .*E: no network$/);
});

t.test("a QEMU that does not run here, or is another one, is not taken", async (t) => {
  const broken = '#!/bin/sh\nmkdir -p "$3/usr/bin"\n';
  const unusable = run(t, "unpackBackportedQemu", { dpkg: broken });
  t.match(unusable.stderr, /Cannot run QEMU 10\.0 with the libraries of this system: .*not found/);
  t.notOk(existsSync(join(unusable.folder, "out/qemu")));
  const old = run(t, "unpackBackportedQemu", { dpkg: dpkg("pc-i440fx-7.2 Standard PC\\n") });
  t.match(old.stderr, /Cannot use QEMU of bookworm-backports: it has no pc-q35-10\.0\n$/);
  t.notOk(existsSync(join(old.folder, "out/qemu")));
});

t.test("another system than Debian 12 is told so, and apt is not asked", async (t) => {
  const release = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n';
  const { stderr, calls } = run(t, "unpackBackportedQemu", { release });
  t.match(
    stderr,
    /^setup: Use Debian 12 for tests with QEMU 10\.0: .* this is Debian GNU\/Linux 13 \(trixie\)\n$/,
  );
  t.equal(calls, "");
});
