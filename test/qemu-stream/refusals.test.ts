/** What a decoder refuses, and by which name. */

import t from "tap";
import { bytesOf, decodeError } from "./events.ts";

const HEADER = '"QEVM" 00000003 07 00000003 "pc1" ';
const RAM = '01 00000002 03 "ram" 00000000 00000004 ';
const BLOCKS = '0000000000002004 02 "ab" 0000000000001000 02 "cd" 0000000000001000 ';
const EOS = "0000000000000010 ";
const FOOTER = "7e 00000002 ";
const START = HEADER + RAM + BLOCKS + EOS + FOOTER;
const PART = `${START}02 00000002 `;
const AFTER_RAM = `${START}03 00000002 ${EOS}${FOOTER}`;

function refuses(name: string, code: string, notation: string, message: RegExp): void {
  t.test(name, async (t) => {
    t.match(decodeError(bytesOf(notation)), { name: "FormatError", code, message });
  });
}

refuses("another file is not a stream", "bad-magic", "51464900 00000003", /does not begin with "QEVM"/);
refuses("another version of the stream is refused", "bad-version", '"QEVM" 00000002', /version 2 is not 3/);
refuses("a multifd channel is refused by name", "unsupported", "11223344 00000001", /multifd channels/);
refuses("a stream without configuration is refused", "unsupported", `"QEVM" 00000003 ${RAM}`, /before 2\.4/);
refuses(
  "a long machine type is refused before it is read",
  "bad-length",
  '"QEVM" 00000003 07 ffffffff',
  /4294967295/,
);
refuses("an empty machine type is refused", "bad-length", '"QEVM" 00000003 07 00000000', /length 0/);
refuses(
  "a machine type with control characters is refused",
  "bad-value",
  '"QEVM" 00000003 07 00000001 0a',
  /ASCII/,
);

const CAPABILITIES = `${HEADER}05 1a "configuration/capabilities" 00000001 `;
for (const name of ["x-ignore-shared", "mapped-ram"]) {
  const length = name.length.toString(16).padStart(2, "0");
  refuses(
    `capability ${name} is refused by name`,
    "unsupported",
    `${CAPABILITIES} 00000002 ${length} "${name}"`,
    new RegExp(`capability "${name}"`),
  );
}
refuses(
  "a capability with control characters is refused",
  "bad-value",
  `${CAPABILITIES}00000001 01 0a`,
  /capability/,
);
refuses(
  "an unknown subsection is refused by name",
  "unsupported",
  `${HEADER}05 15 "configuration/novelty" 00000001`,
  /"configuration\/novelty"/,
);
refuses(
  "another version of a subsection is refused",
  "bad-version",
  `${HEADER}05 12 "configuration/uuid" 00000002`,
  /version 2/,
);
refuses(
  "pages of another size are refused",
  "unsupported",
  `${HEADER}05 1e "configuration/target-page-bits" 00000001 0000000e`,
  /pages of other than 4096/,
);
t.test("pages of 4096 bytes and an empty list of capabilities are accepted", async (t) => {
  const subsections = '05 1e "configuration/target-page-bits" 00000001 0000000c';
  t.match(decodeError(bytesOf(HEADER + subsections)), { code: "truncated" });
  t.match(decodeError(bytesOf(`${CAPABILITIES}00000000`)), { code: "truncated" });
});

const commands = [
  "POSTCOPY_ADVISE",
  "POSTCOPY_LISTEN",
  "POSTCOPY_RUN",
  "POSTCOPY_RAM_DISCARD",
  "POSTCOPY_RESUME",
];
for (const [index, name] of [...commands, "PACKAGED", "RECV_BITMAP", "ENABLE_COLO"].entries()) {
  const command = (index + 3).toString(16).padStart(4, "0");
  refuses(
    `command ${name} is refused by name`,
    "unsupported",
    `${START}08 ${command} 0004 00000000`,
    new RegExp(`command ${name} is not supported`),
  );
}
refuses("an unknown command is refused", "unsupported", `${HEADER}08 0063 0000`, /command 99/);
refuses(
  "a command of another length is refused",
  "bad-length",
  `${HEADER}08 0002 ffff`,
  /65535 bytes in place of 4/,
);

for (const name of ["block", "dirty-bitmap", "vfio"]) {
  const length = name.length.toString(16).padStart(2, "0");
  const section = `01 00000003 ${length} "${name}" 00000000 00000001`;
  refuses(
    `section ${name} before ram is refused by name`,
    "unsupported",
    HEADER + section,
    new RegExp(`"${name}"`),
  );
  refuses(
    `section ${name} after ram is refused by name`,
    "unsupported",
    START + section,
    new RegExp(`"${name}"`),
  );
}
refuses(
  "device state before RAM is refused by name",
  "unsupported",
  `${HEADER}04 00000001 10 "virtio-mem-early" 00000000 00000001`,
  /device state \("virtio-mem-early"\) before the end of RAM/,
);
refuses(
  "device state among RAM is refused by name",
  "unsupported",
  `${START}04 00000001 03 "cpu"`,
  /\("cpu"\)/,
);
refuses(
  "an end before RAM is refused",
  "bad-value",
  `${HEADER}00`,
  /section type 0x00 cannot stand after its machine type/,
);
refuses(
  "a second START of ram is refused",
  "bad-value",
  START + RAM,
  /section type 0x01 cannot stand between RAM/,
);
refuses(
  "a PART after the END is refused",
  "bad-value",
  `${AFTER_RAM}02 00000002`,
  /0x02 cannot stand after RAM/,
);
refuses("a subsection after a command is refused", "bad-value", `${HEADER}08 0001 0000 05`, /0x05/);
refuses("a PART of another section is refused", "bad-value", `${START}02 00000007`, /section 7 goes on/);
refuses(
  "another instance of ram is refused",
  "bad-value",
  `${HEADER}01 00000002 03 "ram" 00000001 00000004`,
  /instance/,
);
refuses(
  "another version of ram is refused",
  "bad-version",
  `${HEADER}01 00000002 03 "ram" 00000000 00000003`,
  /version 3/,
);
refuses(
  "a section name with control characters is refused",
  "bad-value",
  `${HEADER}01 00000002 01 00`,
  /name/,
);

refuses("a missing footer is refused", "bad-value", HEADER + RAM + BLOCKS + EOS + RAM, /lacks its footer/);
refuses(
  "a footer of another section is refused",
  "bad-value",
  `${HEADER}${RAM}${BLOCKS}${EOS}7e 00000003`,
  /footer/,
);
refuses(
  "pages before the block list are refused",
  "bad-value",
  HEADER + RAM + EOS,
  /0x010 stand where the list/,
);
refuses("a total of 0 is refused", "bad-length", `${HEADER}${RAM}0000000000000004`, /total of 0/);
refuses(
  "a total beyond the limit is refused",
  "bad-length",
  `${HEADER}${RAM}fffffffffffff004`,
  /total of 18/,
);
refuses(
  "an empty block is refused",
  "bad-length",
  `${HEADER}${RAM}0000000000001004 01 "a" 0000000000000000`,
  /length 0/,
);
refuses(
  "a part of a page is refused",
  "bad-length",
  `${HEADER}${RAM}0000000000001004 01 "a" 0000000000000800`,
  /2048/,
);
refuses(
  "a block above the total is refused",
  "bad-length",
  `${HEADER}${RAM}0000000000001004 01 "a" 0000000000002000`,
  /8192/,
);
refuses(
  "a block without id is refused",
  "bad-value",
  `${HEADER}${RAM}0000000000001004 00 0000000000001000`,
  /its id/,
);
refuses(
  "a block that is listed twice is refused",
  "bad-value",
  `${HEADER}${RAM}0000000000002004 01 "a" 0000000000001000 01 "a" 0000000000001000`,
  /"a" is listed twice/,
);

const flags = { xbzrle: "040", "RDMA hook": "080", compress: "100", multifd: "200", FULL: "001" };
for (const [name, flag] of Object.entries(flags)) {
  refuses(
    `a ${name} record is refused by name`,
    "unsupported",
    `${PART}0000000000000${flag} 02 "ab" 00*20`,
    new RegExp(`${name}.*records are not supported`),
  );
}
refuses(
  "a record with unknown flags is refused",
  "bad-value",
  `${PART}000000000000000a 02 "ab" 00*20`,
  /flags 0x00a/,
);
refuses(
  "a multifd flush in START is refused by name",
  "unsupported",
  `${HEADER}${RAM}${BLOCKS}0000000000000200`,
  /multifd/,
);
refuses("a page in START is refused", "bad-value", `${HEADER}${RAM}${BLOCKS}0000000000000008`, /flags 0x008/);
refuses("an end record with an offset is refused", "bad-value", `${PART}0000000000001010`, /has an offset/);
refuses(
  "CONTINUE before any block is refused",
  "bad-value",
  `${PART}0000000000000022 00`,
  /no block was named/,
);
refuses(
  "a page of an unknown block is refused",
  "bad-value",
  `${PART}0000000000000002 02 "zz" 00`,
  /block "zz" is not/,
);
refuses(
  "a block id that only begins the same is refused",
  "bad-value",
  `${PART}0000000000000002 01 "a" 00`,
  /"a" is not/,
);
refuses(
  "a page behind its block is refused",
  "bad-value",
  `${PART}0000000000001002 02 "ab" 00`,
  /page 1 lies outside/,
);
refuses(
  "a page far behind its block is refused",
  "bad-value",
  `${PART}ffffffffffffe002 02 "ab" 00`,
  /lies outside/,
);
refuses(
  "a zero page with another fill byte is refused",
  "bad-value",
  `${PART}0000000000000002 02 "ab" 01`,
  /filled with 1/,
);
