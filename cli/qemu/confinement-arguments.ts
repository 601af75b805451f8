/** QEMU arguments of a site's own that its sandbox would make fail, told before QEMU says it in its own words. */

import { OperationError } from "../errors.ts";

/** Network back ends that start a program: a script, or a helper that gets rights that QEMU has not. */
const startsPrograms: readonly { readonly what: string; readonly matches: (value: string) => boolean }[] = [
  {
    what: "scripts of a tap device",
    matches: (value) =>
      /^tap(,|$)/.test(value) &&
      !/,fds?=/.test(value) &&
      !(/,script=(no)?(,|$)/.test(value) && /,downscript=(no)?(,|$)/.test(value)),
  },
  { what: "the bridge helper", matches: (value) => /^bridge(,|$)/.test(value) || /,helper=/.test(value) },
  { what: "a Samba server", matches: (value) => /^user(,|$)/.test(value) && /,smb=/.test(value) },
  { what: "a command for guestfwd", matches: (value) => /,guestfwd=[^,]*-cmd:/.test(value) },
];

/** Throws OperationError "usage" if an argument makes QEMU start a program, which its sandbox denies. */
export function checkSandboxedArguments(args: readonly string[]): void {
  for (const [i, argument] of args.entries()) {
    if (!/^--?(netdev|nic|net)$/.test(argument)) continue;
    const value = args[i + 1] ?? "";
    const found = startsPrograms.find(({ matches }) => matches(value));
    if (found === undefined) continue;
    throw new OperationError(
      "usage",
      `Cannot pass ${argument} ${value} to QEMU: it would start ${found.what}, which qemu.sandbox denies; make the device ` +
        "beforehand and use tap with ifname=…,script=no,downscript=no, or set qemu.sandbox to off",
    );
  }
}
