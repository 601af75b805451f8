import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import t from "tap";
import { freeChunk } from "../../cli/qemu/chunk-memory.ts";
import { temporaryFolder } from "./qemu-fixture.ts";

t.test("a chunk that a socket has read is empty when it was freed", async (t) => {
  const path = join(await temporaryFolder(t), "a.sock");
  const accepted = new Promise<Socket>((resolve) => {
    const server = createServer((socket) => {
      server.close();
      resolve(socket);
    }).listen(path);
  });
  const client = connect(path);
  const socket = await accepted;
  const ended = new Promise((resolve) => client.once("close", resolve));
  const lengths: [number, number][] = [];
  const read = new Promise<void>((resolve) => {
    let bytes = 0;
    client.on("data", (chunk) => {
      const before = chunk.length;
      bytes += before;
      freeChunk(chunk);
      lengths.push([before, chunk.length]);
      if (bytes === 1 << 20) resolve();
    });
  });
  socket.end(Buffer.alloc(1 << 20, 7));
  await read;
  await ended;
  t.ok(lengths.length > 0);
  t.ok(lengths.every(([before, after]) => before > 0 && after === 0));
});

t.test("a part of a larger buffer stays", async (t) => {
  const whole = new Uint8Array(100).fill(3);
  freeChunk(whole.subarray(0, 50));
  t.equal(whole.length, 100);
  t.equal(whole[99], 3);
});
