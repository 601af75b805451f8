import t from "tap";
import { type LinkSources, linkFigures, requireLink } from "../../cli/predict/link-figures.ts";
import { legOf } from "./leg-records.ts";

const sources: LinkSources = {
  given: { rate: null, rttMs: null, loss: null },
  configured: undefined,
  legs: [],
  pingMs: null,
  streams: 1,
  limit: null,
};

t.test("without anything known the link is a guess that says so, wide", async (t) => {
  const found = linkFigures(sources);
  t.match(found, { rateFrom: /^assumed/, rttFrom: /^assumed/, isRttOfNow: false, givenBytesPerSecond: null });
  t.ok(found.rateSpread > 1.5);
  t.equal(found.link.bytesPerSecond, 12.5e6);
});

t.test("what the operator says counts first, then what legs measured, then the configuration", async (t) => {
  const configured = { rate: 50e6, rtt: 80 };
  const plain = linkFigures({ ...sources, configured });
  t.match(plain, { rateFrom: "configured", rttFrom: "configured" });
  t.equal(plain.link.bytesPerSecond * 8, 50e6);
  const legs = [11e6, 12e6, 12.2e6, 3e6].map((bytesPerSecond) =>
    legOf({ bytesPerSecond, pageWireBytes: bytesPerSecond === 3e6 ? 6e6 : 60e6, rttMs: 41 }),
  );
  const measured = linkFigures({ ...sources, configured, legs });
  t.equal(measured.link.bytesPerSecond, 12.2e6, "short legs show less than there is");
  t.equal(measured.link.efficiency, 1);
  t.equal(measured.link.rttSeconds, 0.041);
  t.ok(measured.rateSpread > plain.rateSpread, "legs that disagree");
  const given = { rate: 1e9, rttMs: 5, loss: 0.01 };
  const said = linkFigures({ ...sources, configured, legs, given, pingMs: 42 });
  t.match(said, { rateFrom: "given", rttFrom: "given", givenBytesPerSecond: 125e6 });
  t.match(said.link, { bytesPerSecond: 125e6, rttSeconds: 0.005, lossShare: 0.01 });
  const pinged = linkFigures({ ...sources, configured, legs, pingMs: 42 });
  t.match(pinged, { rttFrom: "measured now", isRttOfNow: true });
});

t.test("a leg under a limit says nothing of the link, and a limit holds", async (t) => {
  const legs = [legOf({ bytesPerSecond: 1e6, limitBytesPerSecond: 1e6 })];
  t.match(linkFigures({ ...sources, legs }).rateFrom, /^assumed/);
  const limited = linkFigures({ ...sources, limit: 8e6, given: { rate: 100e6, rttMs: 1, loss: null } });
  t.ok(Math.abs(limited.link.bytesPerSecond * limited.link.efficiency - 1e6) < 1);
});

t.test("the payload's share of a given rate is learned", async (t) => {
  const legs = [0.98, 0.97, 0.5].map((share) =>
    legOf({ bytesPerSecond: share * 10e6, pageWireBytes: 20e6, givenBytesPerSecond: 10e6 }),
  );
  const given = { rate: 200e6, rttMs: 10, loss: null };
  t.equal(linkFigures({ ...sources, legs, given }).link.efficiency, 0.98);
});

t.test("figures that no link has are refused", async (t) => {
  const bad: [Partial<LinkSources["given"]>, RegExp][] = [
    [{ rate: 1 }, /a link of 1 bit\/s/],
    [{ rate: 1e15 }, /10 Tbit\/s/],
    [{ rate: Number.NaN }, /NaN/],
    [{ rttMs: 3_600_000 }, /at most a minute/],
    [{ rttMs: -1 }, /round trip/],
    [{ loss: 0.9 }, /a loss of 0.9/],
  ];
  for (const [part, message] of bad)
    t.throws(() => requireLink({ rate: null, rttMs: null, loss: null, ...part }), {
      reason: "usage",
      message,
    });
  t.doesNotThrow(() => requireLink({ rate: 100e6, rttMs: 40, loss: 0.01 }));
});
