import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { Heartbeat } from "../../cli/experiments/heartbeat.ts";
import { temporaryFolder } from "../qemu/qemu-fixture.ts";

const pauseMs = 300;

/** A serial port on which something counts while it is told to. */
class Port {
  isBeating = false;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private readonly timer: NodeJS.Timeout;

  private constructor(path: string) {
    let count = 0;
    this.server = createServer((socket) => {
      this.sockets.add(socket.on("error", () => {}));
    }).listen(path);
    this.timer = setInterval(() => {
      if (this.isBeating) for (const socket of this.sockets) socket.write(`${++count}\n`);
    }, 5);
  }

  static async open(t: Test, path: string): Promise<Port> {
    const port = new Port(path);
    await once(port.server, "listening");
    t.teardown(() => port.close());
    return port;
  }

  close(): void {
    clearInterval(this.timer);
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

t.test("the longest time between two counts is found, wherever they come from", async (t) => {
  const folder = await temporaryFolder(t);
  const paths = [join(folder, "a"), join(folder, "b")] as const;
  const heartbeat = new Heartbeat();
  for (const path of paths) heartbeat.follow(path);
  const a = await Port.open(t, paths[0]);
  a.isBeating = true;
  await heartbeat.begin(paths[0]);
  // The other one comes later, as a QEMU that waits for the guest.
  const b = await Port.open(t, paths[1]);
  a.isBeating = false;
  await sleep(pauseMs);
  b.isBeating = true;
  const gapMs = await heartbeat.end(paths[1]);
  t.ok(gapMs >= pauseMs - 10, `${gapMs} ms`);
  a.close();
  await heartbeat.begin(paths[1]);
  const moreMs = await heartbeat.end(paths[1]);
  t.ok(moreMs < gapMs, `measured anew: ${moreMs} ms`);
  await heartbeat.close();
});

t.test("who waits for a heart that does not beat is let go when that is ended", async (t) => {
  const heartbeat = new Heartbeat();
  heartbeat.follow(join(await temporaryFolder(t), "nobody"));
  const waiting = t.rejects(heartbeat.begin("nobody"), { name: "AbortError" });
  await heartbeat.close();
  await waiting;
});
