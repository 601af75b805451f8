/** Device state for tests as QEMU writes it, and its description. */

/** Two devices: one flat, one with a struct, arrays, a subsection and opaque parts. */
export const described = [
  {
    name: "timer",
    instance_id: 0,
    vmsd_name: "timer",
    version: 2,
    fields: [{ name: "ticks", type: "int64", size: 8 }],
  },
  {
    name: "cpu",
    instance_id: 1,
    vmsd_name: "cpu",
    version: 12,
    fields: [
      { name: "regs", array_len: 3, type: "uint16", size: 2 },
      {
        name: "segment",
        array_len: 2,
        type: "struct",
        struct: { vmsd_name: "segment", version: 1, fields: [{ name: "base", type: "uint32", size: 4 }] },
        size: 4,
      },
      { name: "bank", index: 0, type: "uint8", size: 1 },
      { name: "bank", index: 1, type: "uint8", size: 1 },
      { name: "memory", type: "buffer", size: 20 },
      { name: "nothing", type: "struct", struct: {}, size: 1 },
    ],
    subsections: [
      {
        vmsd_name: "cpu/more",
        version: 1,
        fields: [{ name: "flag", type: "bool", size: 1 }],
      },
    ],
  },
];

const text = (value: string) => [value.length, ...Buffer.from(value)];
const be32 = (value: number) => [0, 0, 0, value];

/** What the description describes. */
export const deviceState = Uint8Array.from([
  ...[4, ...be32(3), ...text("timer"), ...be32(0), ...be32(2)],
  ...[0, 0, 0, 0, 0, 0, 0, 7],
  ...[0x7e, ...be32(3)],
  ...[4, ...be32(4), ...text("cpu"), ...be32(1), ...be32(12)],
  ...[0, 1, 0, 2, 0, 3],
  ...[0, 0, 1, 0, 0, 0, 2, 0],
  ...[5, 6],
  ...new Array<number>(20).fill(9),
  0x30,
  ...[5, ...text("cpu/more"), ...be32(1), 1],
  ...[0x7e, ...be32(4)],
  0,
]);
