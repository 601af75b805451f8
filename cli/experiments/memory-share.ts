/** How much of a guest's memory is not zero, as its QEMU has it. */

import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { QmpClient } from "../qemu/qmp-client.ts";

const pageBytes = 4096;
const chunkBytes = 1 << 20;
/** QEMU answers when it has written all of it. */
const saveTimeoutMs = 300_000;

/** Share of pages that are not zero, from 0 to 1. The guest stands still while its memory is written to a file in `folder`. */
export async function nonZeroShare(qmp: QmpClient, memoryBytes: number, folder: string): Promise<number> {
  const path = join(folder, "memory.raw");
  try {
    const target = { val: 0, size: memoryBytes, filename: path };
    await qmp.execute("pmemsave", target, { timeoutMs: saveTimeoutMs });
    return await countNonZero(path, memoryBytes);
  } finally {
    await rm(path, { force: true });
  }
}

async function countNonZero(path: string, memoryBytes: number): Promise<number> {
  const file = await open(path);
  const zeroes = Buffer.alloc(pageBytes);
  const chunk = Buffer.alloc(chunkBytes);
  let found = 0;
  try {
    for (let at = 0; at < memoryBytes; ) {
      const { bytesRead } = await file.read(chunk, 0, chunkBytes, at);
      if (bytesRead === 0) throw new Error(`QEMU has written ${at} of ${memoryBytes} bytes to ${path}`);
      for (let page = 0; page < bytesRead; page += pageBytes) {
        if (chunk.compare(zeroes, 0, pageBytes, page, page + pageBytes) !== 0) found++;
      }
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  return found / (memoryBytes / pageBytes);
}
