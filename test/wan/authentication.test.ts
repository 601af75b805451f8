import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { newNonce, proofMatches, prove, readToken } from "../../cli/wan/authentication.ts";
import { endsAs } from "../store/operation-errors.ts";

const token = Buffer.from("a token that both sites have");

t.test("a proof depends on the token, the role, both nonces and the site", async (t) => {
  const proofs = [
    prove(token, "client", "s", "c", "a"),
    prove(Buffer.from("another token, as long as it"), "client", "s", "c", "a"),
    prove(token, "server", "s", "c", "a"),
    prove(token, "client", "s2", "c", "a"),
    prove(token, "client", "s", "c2", "a"),
    prove(token, "client", "s", "c", "b"),
    prove(token, "client", "sc", "", "a"),
  ];
  t.equal(new Set(proofs).size, proofs.length);
  t.equal(proofs[0], prove(token, "client", "s", "c", "a"));
  t.match(proofs[0], /^[0-9a-f]{64}$/);
});

t.test("proofs match only as a whole", async (t) => {
  const proof = prove(token, "client", "s", "c", "a");
  t.ok(proofMatches(proof, proof));
  for (const other of [
    "",
    proof.slice(2),
    `${proof}00`,
    proof.replace(/^../, "zz"),
    prove(token, "server", "s", "c", "a"),
  ]) {
    t.notOk(proofMatches(proof, other));
  }
});

t.test("nonces do not repeat", async (t) => {
  t.equal(new Set(Array.from({ length: 100 }, newNonce)).size, 100);
});

t.test(
  "a token is read without white space around it; a short, missing or shared one is refused",
  async (t) => {
    const path = join(t.testdir(), "token");
    await t.rejects(readToken(path), endsAs("usage"));
    writeFileSync(path, "  0123456789abcdef\n", { mode: 0o600 });
    t.strictSame(Buffer.from(await readToken(path)).toString(), "0123456789abcdef");
    chmodSync(path, 0o640);
    await t.rejects(readToken(path), /chmod 600/);
    writeFileSync(path, "too short \n");
    chmodSync(path, 0o600);
    await t.rejects(readToken(path), /at least 16 characters/);
  },
);
