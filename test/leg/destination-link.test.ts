import t from "tap";
import { DestinationLink } from "../../cli/leg/destination-link.ts";
import type { Incoming } from "../../cli/wan/connection.ts";
import { connectionPair } from "../wan/connection-pair.ts";

const legId = "0b1f8c64-6d0d-4b57-9d59-0a4f4b1f6a11";

t.test("what came before the connection was lost counts", async (t) => {
  const { a: client, b: server } = await connectionPair(t);
  const lost = new Promise<void>((resolve) => server.onLost(() => resolve()));
  client.send({ type: "abort", reason: "cancelled", message: "no more" });
  client.close();
  await lost;
  const came: Incoming[] = [];
  const link = new DestinationLink({
    legId,
    connection: server,
    timeoutMs: 60_000,
    streams: 1,
    onIncoming: (incoming) => came.push(incoming),
    onGivenUp: () => t.fail("it is not given up"),
    warn: () => {},
  });
  t.match(came, [{ message: { type: "abort", message: "no more" } }]);
  link.end();
});
