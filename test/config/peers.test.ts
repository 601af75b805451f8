import t from "tap";
import { peerField } from "../../cli/config/peers.ts";

const url = "wss://b.example:7070";

t.test("what is known of the link is given in the units of people", async (t) => {
  t.same(peerField.parse({ url, link: { rate: "100M", rtt: "40ms" } }).link, { rate: 100e6, rtt: 40 });
  t.same(peerField.parse({ url, link: { rtt: "0.2s" } }).link, { rtt: 200 });
  t.equal(peerField.parse({ url }).link, undefined);
});

t.test("figures that cannot be are refused with what to write", async (t) => {
  const bad: [object, RegExp][] = [
    [{ rate: "fast" }, /Cannot read rate .* such as 100M/],
    [{ rate: "0M" }, /a rate above zero/],
    [{ rtt: "40" }, /a time above zero|Cannot read time/],
    [{ rtt: -1 }, /Cannot read time/],
    [{ loss: 0.1 }, /loss/],
  ];
  for (const [link, message] of bad) t.throws(() => peerField.parse({ url, link }), { message });
});
