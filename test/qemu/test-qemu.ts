/**
 * The QEMU that tests run and the machine type of their guests. `npm run test:all` sets both, so that the same tests
 * hold another QEMU and another machine to what they say of the usual ones.
 */

import { guestMachine } from "../../cli/demo/testbed.ts";

/** A QEMU program: a path, or a name to be found in PATH. */
export const testQemu = process.env["BFMIG_TEST_QEMU"] ?? "qemu-system-x86_64";

/** A versioned machine type that this QEMU has. */
export const testMachine = process.env["BFMIG_TEST_MACHINE"] ?? guestMachine;
