import t from "tap";
import { readDeviceFields } from "../../cli/inspect/device-state.ts";
import { descriptionLimits, parseVmDescription } from "../../cli/inspect/vm-description.ts";
import { described, deviceState } from "./device-sections.ts";

const parse = (value: unknown) => parseVmDescription(new TextEncoder().encode(JSON.stringify(value)));
const read = (state = deviceState, devices: unknown = described) =>
  readDeviceFields(state, parse({ devices }));

t.test("every field has its name, place and value", (t) => {
  const { devices, problem, isCut } = read();
  t.equal(problem, null);
  t.equal(isCut, false);
  t.strictSame(
    devices.map(({ name, instanceId, version, offset, bytes }) => [name, instanceId, version, offset, bytes]),
    [
      ["timer", 0, 2, 0, 32],
      ["cpu", 1, 12, 32, 74],
    ],
  );
  t.strictSame(
    devices[1].fields.map(({ path, bytes, hex }) => [path, bytes, hex]),
    [
      ["regs", 6, "000100020003"],
      ["segment[0].base", 4, "00000100"],
      ["segment[1].base", 4, "00000200"],
      ["bank[0]", 1, "05"],
      ["bank[1]", 1, "06"],
      ["memory", 20, null],
      ["nothing", 1, "30"],
      ["cpu/more:flag", 1, "01"],
    ],
  );
  for (const { offset, bytes, hex } of devices[1].fields) {
    if (hex !== null) t.equal(Buffer.from(deviceState).toString("hex", offset, offset + bytes), hex);
  }
  t.end();
});

t.test("a state that ends anywhere is a problem, never an error", (t) => {
  for (let end = 0; end < deviceState.length; end++) {
    t.match(read(deviceState.subarray(0, end)).problem, /does not fit its description/, `${end} bytes`);
  }
  t.end();
});

t.test("a description that does not fit is a problem that names the field", (t) => {
  const [timer, cpu] = structuredClone(described);
  const [regs, segment] = cpu.fields as { array_len?: number; size: number }[];
  t.match(read(deviceState, [cpu, timer]).problem, /the section of timer, 0 stands where cpu, 1 should/);
  t.match(read(deviceState, [timer]).problem, /more follows/);
  regs.array_len = 2 ** 20;
  t.match(read(deviceState, [timer, cpu]).problem, /regs has 2097152 bytes, \d+ are left/);
  regs.array_len = 3;
  segment.size = 5;
  t.match(read(deviceState, [timer, cpu]).problem, /segment has 5 bytes, its parts leave 1/);
  t.equal(read(deviceState, [timer, cpu]).devices.length, 1, "what came before it is told");
  t.end();
});

t.test("arrays of nothing cost nothing, and fields are counted", (t) => {
  const state = Uint8Array.from([4, 0, 0, 0, 3, 1, 0x61, 0, 0, 0, 0, 0, 0, 0, 1, 0x7e, 0, 0, 0, 3, 0]);
  const empty = { name: "x", type: "uint8", size: 0 };
  const many = { name: "m", type: "struct", size: 0, array_len: 60_000_000, struct: { fields: [empty] } };
  const device = (fields: unknown[]) => [{ name: "a", instance_id: 0, version: 1, fields }];
  t.equal(read(state, device([many])).problem, null);
  const wide = {
    name: "w",
    type: "struct",
    size: 1,
    array_len: 2000,
    struct: { fields: new Array(1000).fill(empty) },
  };
  const longState = new Uint8Array(state.length + 2000);
  longState.set(state.subarray(0, 15));
  t.match(read(longState, device([wide])), { isCut: false, problem: /w has 1 bytes, its parts leave 1/ });
  wide.struct.fields.push({ name: "y", type: "uint8", size: 1 });
  t.match(read(longState, device([wide])), { isCut: true, problem: null }, "more fields than are kept");
  t.end();
});

t.test("a hostile description is refused", (t) => {
  let deep: unknown = { vmsd_name: "d", version: 1, fields: [] };
  for (let i = 0; i < 40; i++) deep = { vmsd_name: "d", version: 1, fields: [], subsections: [deep] };
  const field = (change: object) => ({
    devices: [{ name: "a", fields: [{ name: "f", type: "t", size: 1, ...change }] }],
  });
  const refused: [unknown, RegExp][] = [
    [[], /is not an object/],
    [{ devices: {} }, /devices is not a list/],
    [{ devices: [7] }, /a device is not an object/],
    [{ devices: [{ name: 7 }] }, /name is not text/],
    [{ devices: [{ name: "a", instance_id: { toString: 1 } }] }, /an instance number is not a number/],
    [{ devices: [{ name: "a", instance_id: 2 ** 32 }] }, /an instance number is not a number/],
    [{ devices: [{ name: "x".repeat(300) }] }, /has 300 characters/],
    [{ devices: [{ name: "a", fields: [], subsections: [deep] }] }, /nested too deeply/],
    [field({ size: -1 }), /size is not a number from 0/],
    [field({ size: 1.5 }), /size is not a number/],
    [field({ size: 2 ** 40 }), /size is not a number/],
    [field({ array_len: 2 ** 53 }), /array_len is not a number/],
    [field({ struct: [] }), /a struct is not an object/],
    [
      {
        devices: [{ name: "a", fields: new Array(descriptionLimits.items + 1).fill({ name: "f", size: 0 }) }],
      },
      /too many parts/,
    ],
  ];
  for (const [value, message] of refused) t.throws(() => parse(value), message);
  t.throws(() => parseVmDescription(new Uint8Array(descriptionLimits.jsonBytes + 1)), /are too many/);
  t.throws(() => parseVmDescription(Uint8Array.of(0x7b)), /not JSON/);
  t.strictSame(parse({}), [], "an empty one is that of no device");
  t.match(parse({ devices: [{ name: "a", instance_id: -1 }] }), [{ instanceId: 0xffffffff }], "QEMU's -1");
  t.equal(parse({ devices: [{ name: "a\u001b[2J" }] })[0].name, "a?[2J", "nothing for the terminal");
  t.end();
});
