/** What the checks of a VM's disks have in common. */

import type { Core } from "../../src/core.ts";
import type { VmImages } from "./vm-images.ts";

export interface DiskContext {
  readonly core: Core;
  /** The VM's digest key, 32 bytes. */
  readonly key: Uint8Array;
  readonly images: VmImages;
  /** Leaves out contents. */
  readonly quick: boolean;
}
