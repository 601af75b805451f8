import fc from "fast-check";
import t from "tap";
import { matchesPattern, mayMove, mayReceive, maySend } from "../../cli/config/permissions.ts";

const peers = {
  b: { url: "wss://b:1", fingerprint: null, maySend: ["web*", "db?"], mayReceive: ["web1"] },
  c: { url: "wss://c:1", fingerprint: null, maySend: [], mayReceive: [] },
};

t.test("a peer may do what a pattern allows, each direction for itself", async (t) => {
  for (const vm of ["web", "web1", "web-old", "db1"]) t.ok(maySend(peers, "b", vm), vm);
  for (const vm of ["we", "xweb1", "db", "db12", "other"]) t.notOk(maySend(peers, "b", vm), vm);
  t.ok(mayReceive(peers, "b", "web1"));
  t.notOk(mayReceive(peers, "b", "web2"), "it may be sent by b, but not go there");
  t.ok(mayMove(peers, "b", "web2"), "one direction is enough to talk about it");
  t.notOk(mayMove(peers, "b", "other"));
});

t.test(
  "what is not allowed is forbidden: no patterns, no such peer, names that every object has",
  async (t) => {
    for (const peer of ["c", "d", "constructor", "toString", "__proto__", ""]) {
      t.notOk(maySend(peers, peer, "web1"), peer);
      t.notOk(mayReceive(peers, peer, "web1"), peer);
      t.notOk(mayMove(peers, peer, "web1"), peer);
    }
  },
);

t.test("a pattern matches what a regular expression of it matches", async (t) => {
  const letters = (alphabet: string[]) => fc.array(fc.constantFrom(...alphabet), { maxLength: 12 });
  fc.assert(
    fc.property(letters(["a", "b", ".", "*", "?"]), letters(["a", "b", ".", "-"]), (pattern, name) => {
      const source = pattern.map((one) =>
        one === "*" ? ".*" : one === "?" ? "." : `\\${one}`.replace(/\\([ab])/, "$1"),
      );
      t.equal(
        matchesPattern(pattern.join(""), name.join("")),
        new RegExp(`^${source.join("")}$`, "s").test(name.join("")),
        `${pattern.join("")} ${name.join("")}`,
      );
    }),
    { numRuns: 2000 },
  );
});

t.test("a pattern with many stars is no trap", async (t) => {
  t.notOk(matchesPattern(`${"*a".repeat(31)}b`, "a".repeat(63)));
});
