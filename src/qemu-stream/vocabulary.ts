/**
 * The vocabulary of QEMU's migration stream: its grammar, constants, limits and events.
 *
 * Exact for what QEMU 7.2 and 10.0 send in plain pre-copy to a socket, for machine types from 2.4 on.
 * All integers are big-endian. Source: QEMU `migration/savevm.c` and `migration/ram.c`.
 *
 * ```
 * stream        = "QEVM" 00000003 configuration *( command / ram-section ) device-state [ description ]
 * configuration = 07 be32-length machine-name *subsection
 * subsection    = 05 u8-length name be32-version body
 * command       = 08 be16-command be16-length data              ; at any section boundary
 *
 * ram-section   = 01 be32-id 03 "ram" be32-instance be32-version block-list eos footer   ; START, once, first
 *               / 02 be32-id *page eos footer                                            ; PART, any number
 *               / 03 be32-id *page eos footer                                            ; END, once
 * footer        = 7e be32-id
 *
 * block-list    = be64( total bytes | 004 ) *( u8-length id be64-length )    ; until the lengths add up to the total
 * page          = be64( offset in block | 002 [ | 020 ] ) [ u8-length id ] 00            ; all bytes are zero
 *               / be64( offset in block | 008 [ | 020 ] ) [ u8-length id ] 4096 bytes
 * eos           = be64( 010 )
 *
 * device-state  = *( 04 be32-id u8-length name be32-instance be32-version body footer ) 00
 * description   = 06 be32-length JSON
 * ```
 *
 * Flag 020 (CONTINUE) leaves the block's id out: the page is in the block that was named last, also if that
 * was in an earlier section. Bodies of devices carry no length, so the device state is opaque here.
 *
 * What these bytes cannot tell, the migration's owner must rule out before it starts: QEMU 7.2 with multifd
 * sends a well-formed stream that lacks the pages of the other channels, and `suppress-vmdesc=on` leaves out
 * the description, without which the end cannot be recognised.
 */

/** Bytes of a page of guest RAM, and of an offset's unit. */
export const PAGE_BYTES = 4096;

/** "QEVM", the first four bytes of a stream. */
export const STREAM_MAGIC = 0x5145564d;
/** Version of the stream's format, after the magic. */
export const STREAM_VERSION = 3;

/** The first four bytes of an additional channel of the multifd capability. */
export const MULTIFD_MAGIC = 0x11223344;

/** The byte that starts each item at a section boundary. */
export const sectionTypes = {
  endOfFile: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  vmDescription: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

/** Flags in the low 12 bits of a RAM record. */
export const ramFlags = {
  zero: 0x002,
  memorySize: 0x004,
  page: 0x008,
  endOfSection: 0x010,
  continued: 0x020,
  xbzrle: 0x040,
  hook: 0x080,
  compress: 0x100,
  multifdFlush: 0x200,
} as const;

/** Name of the section with RAM. */
export const RAM_SECTION_NAME = "ram";
/** Instance of the section with RAM. */
export const RAM_SECTION_INSTANCE = 0;
/** Version of the section with RAM. */
export const RAM_SECTION_VERSION = 4;

/** Commands that a plain pre-copy stream holds. Others are refused by their names. */
export const streamCommands = {
  openReturnPath: 1,
  ping: 2,
  switchoverStart: 11,
} as const;

/** The number of bytes that each accepted command carries. */
export const commandDataBytes: ReadonlyMap<number, number> = new Map([
  [streamCommands.openReturnPath, 0],
  [streamCommands.ping, 4],
  [streamCommands.switchoverStart, 0],
]);

/** Names of the commands that are refused, for messages. */
export const refusedCommandNames: ReadonlyMap<number, string> = new Map([
  [3, "POSTCOPY_ADVISE"],
  [4, "POSTCOPY_LISTEN"],
  [5, "POSTCOPY_RUN"],
  [6, "POSTCOPY_RAM_DISCARD"],
  [7, "POSTCOPY_RESUME"],
  [8, "PACKAGED"],
  [9, "RECV_BITMAP"],
  [10, "ENABLE_COLO"],
]);

/** Names of the RAM record flags that are refused, for messages. */
export const refusedRamFlagNames: ReadonlyMap<number, string> = new Map([
  [0x001, "FULL (before QEMU 0.14)"],
  [ramFlags.xbzrle, "xbzrle"],
  [ramFlags.hook, "RDMA hook"],
  [ramFlags.compress, "compress"],
  [ramFlags.multifdFlush, "multifd"],
]);

/** Lengths of names are one byte on the wire; the machine's name gets the same limit. */
export const NAME_MAX_BYTES = 255;

/** A window of this many bytes always holds at least one whole item: `consume` makes progress on it. */
export const MAX_ITEM_BYTES = 8 + 1 + NAME_MAX_BYTES + PAGE_BYTES;

/** What a decoder accepts at most; checked before anything is allocated. */
export interface StreamLimits {
  /** Number of RAM blocks. */
  readonly ramBlocks: number;
  /** Sum of the lengths of all RAM blocks, in bytes. */
  readonly ramBytes: number;
  /** Device state in bytes, with its end-of-file byte. */
  readonly deviceStateBytes: number;
  /** The JSON that describes the device state, in bytes. */
  readonly vmDescriptionBytes: number;
}

/** Limits far above what a VM needs, and below what would exhaust the decoder's memory. */
export const defaultStreamLimits: StreamLimits = {
  ramBlocks: 1024,
  ramBytes: 2 ** 44,
  deviceStateBytes: 64 * 1024 * 1024,
  vmDescriptionBytes: 16 * 1024 * 1024,
};

/** One RAM block as the stream's block list names it. `index` counts from 0 in the order of the list. */
export interface RamBlock {
  readonly id: string;
  /** A multiple of 4096. */
  readonly lengthBytes: number;
  readonly index: number;
}

/** Which of RAM's sections: the block list, one of the live rounds, or the last pages. */
export type RamSectionKind = "start" | "part" | "end";

/** A subsection of the configuration, for example "configuration/uuid" version 1 with 16 bytes. */
export interface ConfigurationSubsection {
  readonly name: string;
  readonly version: number;
  readonly body: Uint8Array;
}

/**
 * Receives what a decoder found, in the order of the stream. The events carry all that is needed to encode
 * the same bytes again (`reencoder.ts`).
 */
export interface StreamSink {
  /** The machine type, such as "pc-i440fx-7.2". */
  machine?(name: string): void;
  /** A subsection of the configuration; its bytes stay valid. */
  subsection?(subsection: ConfigurationSubsection): void;
  /** `data` is a view of the decoder's input: it is valid during the call only. */
  command?(command: number, data: Uint8Array): void;
  /** A section of RAM begins; the id is the same in all of them. */
  ramSectionBegin?(kind: RamSectionKind, sectionId: number): void;
  /** The block list, in the section of kind "start". */
  ramBlocks?(blocks: readonly RamBlock[]): void;
  /**
   * Page number `page` of block number `block`: the 4096 bytes at `bytes[at]`, valid during the call only.
   * `continued` says that the block's id was left out on the wire.
   */
  page?(block: number, page: number, bytes: Uint8Array, at: number, continued: boolean): void;
  /** Page number `page` of block number `block` is zero. */
  zeroPage?(block: number, page: number, continued: boolean): void;
  /** The section's footer was seen. */
  ramSectionEnd?(kind: RamSectionKind): void;
  /** The first byte of the device state was seen. No RAM follows. */
  deviceStateBegins?(): void;
  /** The device state, from its first section to the end-of-file byte. The bytes stay valid. */
  deviceState?(tail: Uint8Array): void;
  /** The JSON text without its 5-byte header. The bytes stay valid. */
  vmDescription?(json: Uint8Array): void;
  /** The stream is complete. */
  end?(): void;
}
