/** QEMU's migration stream: a published vector, decoded whole and byte by byte, encoded again. */
import { type Api, mustEqual, mustHaveBytes, mustThrow, type PortableCheck } from "./check.ts";
import { streamBytes, streamEvents } from "./published.ts";

type Sink = ConstructorParameters<Api["QemuStreamDecoder"]>[0];

export const streamChecks: readonly PortableCheck[] = [
  {
    name: "a published QEMU stream decodes to its events, whole and byte by byte",
    run: (api) => {
      const bytes = bytesOf(api, streamBytes);
      for (const step of [bytes.length, 1]) {
        const lines: string[] = [];
        const decoder = new api.QemuStreamDecoder(lineSink(api, lines));
        for (let at = 0; at < bytes.length; at += step) decoder.push(bytes.subarray(at, at + step));
        decoder.finish();
        lines.push(`state ${decoder.state}`);
        mustEqual(lines, streamEvents.trimEnd().split("\n"), `in chunks of ${step}`);
      }
    },
  },
  {
    name: "a QEMU stream that was decoded is encoded to the same bytes",
    run: (api) => {
      const bytes = bytesOf(api, streamBytes);
      const pieces: number[] = [];
      const decoder = new api.QemuStreamDecoder(new api.StreamReencoder((piece) => pieces.push(...piece)));
      decoder.push(bytes);
      decoder.finish();
      mustHaveBytes(Uint8Array.from(pieces), bytes, "the stream");
    },
  },
  {
    name: "a QEMU stream that was cut off, or is none, is refused",
    run: (api) => {
      const bytes = bytesOf(api, streamBytes);
      const cut = new api.QemuStreamDecoder({});
      cut.push(bytes.subarray(0, bytes.length - 1));
      mustThrow(() => cut.finish(), "FormatError", "a stream without its last byte");
      const none = new api.QemuStreamDecoder({});
      mustThrow(() => none.push(new Uint8Array(100)), "FormatError", "zeroes");
    },
  },
];

/** One line for each event, as test/vectors/qemu-stream.md has them. */
function lineSink(api: Api, lines: string[]): Sink {
  const named = (continued: boolean) => (continued ? "continued" : "named");
  return {
    machine: (name) => lines.push(`machine ${name}`),
    ramSectionBegin: (kind, id) => lines.push(`begin ${kind} ${id}`),
    ramBlocks: (blocks) => {
      for (const { index, id, lengthBytes } of blocks) lines.push(`block ${index} ${id} ${lengthBytes}`);
    },
    page: (block, page, bytes, at, continued) =>
      lines.push(`page ${block} ${page} ${named(continued)} ${api.toHex(bytes.subarray(at, at + 4))}`),
    zeroPage: (block, page, continued) => lines.push(`zero ${block} ${page} ${named(continued)}`),
    ramSectionEnd: (kind) => lines.push(`end ${kind}`),
    deviceStateBegins: () => lines.push("device-state-begins"),
    deviceState: (tail) => lines.push(`device-state ${api.toHex(tail)}`),
    vmDescription: (json) => lines.push(`description ${new TextDecoder().decode(json)}`),
    end: () => lines.push("end"),
  };
}

/** Bytes from the notation of the vectors: `5a`, `00*4096` (repeated), `"text"`; `;` begins a comment. */
function bytesOf(api: Api, notation: string): Uint8Array {
  const bytes: number[] = [];
  for (const line of notation.split("\n")) {
    for (const token of line.replace(/;.*$/, "").match(/"[^"]*"|[^\s"]+/g) ?? []) {
      const [value, count] = token.split("*");
      if (token.startsWith('"')) bytes.push(...new TextEncoder().encode(token.slice(1, -1)));
      else for (let i = Number(count ?? 1); i > 0; i--) bytes.push(...api.fromHex(value!));
    }
  }
  return Uint8Array.from(bytes);
}
