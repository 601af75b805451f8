/** Published vectors that portable checks use; a test holds them against test/vectors/. */

/** Some of the BLAKE3 team's vectors: input byte i is i mod 251. */
export const blake3Key = "whats the Elvish word for friend";
export const blake3Vectors: readonly (readonly [length: number, hash: string, keyedHash: string])[] = [
  [
    0,
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
  ],
  [
    1,
    "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
  ],
  [
    1024,
    "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
  ],
  [
    1025,
    "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69",
  ],
  [
    4096,
    "015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969",
    "befc660aea2f1718884cd8deb9902811d332f4fc4a38cf7c7300d597a081bfc0",
  ],
  [
    8193,
    "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b",
    "954a2a75420c8d6547e3ba5b98d963e6fa6491addc8c023189cc519821b4a1f5",
  ],
  [
    31744,
    "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
    "efa53b389ab67c593dba624d898d0f7353ab99e4ac9d42302ee64cbf9939a419",
  ],
];

/** "A whole stream" of test/vectors/qemu-stream.md: its bytes, and the events of a decoder. */
export const streamBytes = `"QEVM" 00000003                                    ; magic, version
07 0000000d "pc-i440fx-7.2"                        ; configuration
01 00000002 03 "ram" 00000000 00000004             ; START: section 2, instance 0, version 4
   0000000000003004                                ; MEM_SIZE: 12288 bytes in all blocks
   06 "pc.ram" 0000000000002000
   03 "rom" 0000000000001000
   0000000000000010 7e 00000002                    ; EOS, footer
02 00000002                                        ; PART
   0000000000000008 06 "pc.ram" aabbccdd 00*4092   ; page 0
   0000000000001022 00                             ; page 1 is zero, CONTINUE
   0000000000000002 03 "rom" 00
   0000000000000010 7e 00000002
03 00000002                                        ; END
   0000000000000028 11*4096                        ; CONTINUE: still "rom"
   0000000000000010 7e 00000002
04 00000000 05 "timer" 00000000 00000002 00*3 7e 00000000
00                                                 ; end of file
06 0000000e 7b 22 "devices" 22 ":[]}"              ; description
`;
export const streamEvents = `machine pc-i440fx-7.2
begin start 2
block 0 pc.ram 8192
block 1 rom 4096
end start
begin part 2
page 0 0 named aabbccdd
zero 0 1 continued
zero 1 0 named
end part
begin end 2
page 1 0 continued 11111111
end end
device-state-begins
device-state 04000000000574696d657200000000000000020000007e0000000000
description {"devices":[]}
end
state done
`;
