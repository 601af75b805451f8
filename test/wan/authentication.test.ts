import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  newNonce,
  noBinding,
  type ProofKeys,
  proofMatches,
  prove,
  readToken,
} from "../../cli/wan/authentication.ts";
import { endsAs } from "../store/operation-errors.ts";

const binding = Buffer.alloc(32, 1);
const keys: ProofKeys = { token: Buffer.from("a token that both sites have"), binding };

t.test("a proof depends on the token, the channel, the role, both nonces and the site", async (t) => {
  const proofs = [
    prove(keys, "client", "s", "c", "a"),
    prove({ ...keys, token: Buffer.from("another token, as long as it") }, "client", "s", "c", "a"),
    prove({ ...keys, token: null }, "client", "s", "c", "a"),
    prove({ ...keys, binding: Buffer.alloc(32, 2) }, "client", "s", "c", "a"),
    prove({ token: null, binding: Buffer.alloc(32, 2) }, "client", "s", "c", "a"),
    prove({ ...keys, binding: noBinding }, "client", "s", "c", "a"),
    prove(keys, "server", "s", "c", "a"),
    prove(keys, "client", "s2", "c", "a"),
    prove(keys, "client", "s", "c2", "a"),
    prove(keys, "client", "s", "c", "b"),
    prove(keys, "client", "sc", "", "a"),
  ];
  t.equal(new Set(proofs).size, proofs.length);
  t.equal(proofs[0], prove({ ...keys }, "client", "s", "c", "a"));
  t.match(proofs[0], /^[0-9a-f]{64}$/);
});

t.test("without a token and without TLS nothing can be proven", async (t) => {
  t.throws(() => prove({ token: null, binding: noBinding }, "client", "s", "c", "a"), TypeError);
});

t.test("proofs match only as a whole", async (t) => {
  const proof = prove(keys, "client", "s", "c", "a");
  t.ok(proofMatches(proof, proof));
  for (const other of [
    "",
    proof.slice(2),
    `${proof}00`,
    proof.replace(/^../, "zz"),
    prove(keys, "server", "s", "c", "a"),
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
