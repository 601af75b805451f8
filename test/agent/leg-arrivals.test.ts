import t from "tap";
import { LegArrivals } from "../../cli/agent/leg-arrivals.ts";
import type { DestinationLeg } from "../../cli/leg/destination-leg.ts";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import type { MessageOf } from "../../cli/wan/messages.ts";
import { endsAs } from "../store/operation-errors.ts";

const prepareOf = (leg: string, vm = "web1") =>
  ({ type: "prepare", leg, vm: { name: vm }, epoch: 2 }) as unknown as MessageOf<"prepare">;
const claimOf = (leg: string | null) => [{ vm: "web1", state: "owned" as const, epoch: 1, leg }];

/** What is told to a leg. */
function fakeLeg() {
  const told: string[] = [];
  const leg = {
    deny: (denial: Error | null) => told.push(denial === null ? "known" : "not known"),
    cancel: ({ message }: Error) => told.push(message),
    join: async (_connection: PeerConnection, stream: number) => told.push(`joined ${stream}`),
  };
  return { told, leg: leg as unknown as DestinationLeg };
}

t.test("a leg that begins waits for the one before it, which is cancelled", async (t) => {
  const arrivals = new LegArrivals();
  const { leg, told } = fakeLeg();
  arrivals.announce("a", prepareOf("1"));
  await arrivals.supersede("a", prepareOf("1"));
  arrivals.announce("a", prepareOf("2"));
  let isGone = false;
  const gone = arrivals.supersede("a", prepareOf("2")).then(() => {
    isGone = true;
  });
  await new Promise(setImmediate);
  t.notOk(isGone, "the first one is not under way so far");
  const end = arrivals.add("a", prepareOf("1"), leg);
  await new Promise(setImmediate);
  t.match(told, ["known", /its source has begun another leg/]);
  t.notOk(isGone, "it is not over so far");
  end("it was cancelled");
  await gone;
});

t.test("legs of other VMs and of other sites are not waited for", async (t) => {
  const arrivals = new LegArrivals();
  arrivals.announce("a", prepareOf("1", "db1"));
  arrivals.announce("c", prepareOf("2"));
  arrivals.announce("a", prepareOf("3"));
  await arrivals.supersede("a", prepareOf("3"));
  t.pass("nothing was waited for");
});

t.test("what a source says of its legs reaches those that are under way and those that begin", async (t) => {
  const arrivals = new LegArrivals();
  const [first, second] = [fakeLeg(), fakeLeg()];
  const cannotBegin = arrivals.announce("a", prepareOf("1"));
  arrivals.add("a", prepareOf("1"), first.leg);
  cannotBegin();
  arrivals.peerClaims("c", claimOf(null));
  t.strictSame(first.told, ["known"], "another site does not know");
  arrivals.peerClaims("a", claimOf(null));
  arrivals.peerClaims("a", claimOf("1"));
  t.strictSame(first.told, ["known", "not known", "known"]);

  arrivals.announce("a", prepareOf("2"));
  arrivals.peerClaims("a", claimOf(null));
  arrivals.add("a", prepareOf("2"), second.leg);
  t.strictSame(second.told, ["not known"]);
});

t.test("a leg is joined by its own source only, and for as long as both last", async (t) => {
  const arrivals = new LegArrivals();
  const { leg, told } = fakeLeg();
  let lose = () => {};
  const connectionOf = (site: string) =>
    ({
      site,
      onLost: (listener: () => void) => {
        lose = listener;
      },
    }) as unknown as PeerConnection;
  const joinOf = (id: string, vm = "web1"): MessageOf<"join"> => ({ type: "join", leg: id, vm, stream: 2 });
  const refusal = { ...endsAs("refused"), message: /it is not under way here/ };
  await t.rejects(arrivals.join(connectionOf("a"), joinOf("1")), refusal, "there is no leg at all");
  arrivals.announce("a", prepareOf("1"));
  const early = arrivals.join(connectionOf("a"), joinOf("1"));
  const end = arrivals.add("a", prepareOf("1"), leg);
  await t.rejects(arrivals.join(connectionOf("c"), joinOf("1")), refusal, "it is another peer's");
  await t.rejects(arrivals.join(connectionOf("a"), joinOf("2")), refusal, "it is another leg");
  await t.rejects(arrivals.join(connectionOf("a"), joinOf("1", "db1")), refusal, "it is another VM");
  const late = arrivals.join(connectionOf("a"), joinOf("1"));
  await new Promise(setImmediate);
  t.strictSame(told, ["known", "joined 2", "joined 2"]);
  lose();
  await late;
  end(null);
  await early;
});
