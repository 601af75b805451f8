/**
 * How the QEMUs that we start are confined. Device state and disks that come from a peer are hostile input to them, so
 * what such input could make of QEMU should be able to do as little as possible:
 *
 *     sandbox   QEMU's own seccomp filter: no programs, no other user, no obsolete system calls
 *     user      another user than ours, with no capabilities (agent as root only)
 *     nnp       no_new_privs: nothing that it starts gets more rights than it has
 *
 * The last two are set by `setpriv` (util-linux), which then becomes QEMU: the process keeps its pid.
 */

import { OperationError } from "../errors.ts";
import { type QemuUser, resolveQemuUser } from "./confinement-user.ts";
import { findProgram, probeQemu, sandboxOption } from "./probe.ts";

/** What a site's configuration says of QEMU. */
export interface QemuSettings {
  readonly binary: string;
  readonly sandbox: "auto" | "on" | "off";
  readonly user?: string | undefined;
}

/** What is in force for one QEMU. */
export interface Confinement {
  readonly sandboxed: boolean;
  /** Path of setpriv; null: it is not used. */
  readonly setpriv: string | null;
  readonly noNewPrivileges: boolean;
  /** Null: QEMU runs as we do. */
  readonly user: QemuUser | null;
}

/** As a program that is started without further ado. */
export const unconfined: Confinement = {
  sandboxed: false,
  setpriv: null,
  noNewPrivileges: false,
  user: null,
};

/** What the configuration means on this machine. Throws OperationError if it cannot be had. */
export async function confinementOf(settings: QemuSettings): Promise<Confinement> {
  const { binary, sandbox } = settings;
  const user = settings.user === undefined ? null : await resolveQemuUser(settings.user);
  const setpriv = await findProgram("setpriv");
  if (user !== null && setpriv === null) {
    throw new OperationError(
      "failed",
      `Cannot run QEMU as ${user.name}: there is no setpriv here; install util-linux`,
    );
  }
  if (sandbox === "off") return { sandboxed: false, setpriv, noNewPrivileges: false, user };
  const probe = await probeQemu(binary);
  if (sandbox === "on" && !probe.sandbox) {
    throw new OperationError(
      "failed",
      `Cannot use qemu.sandbox: ${probe.path} has no -sandbox that works on this machine; ` +
        "use a QEMU that was built with seccomp, or set it to auto",
    );
  }
  return { sandboxed: probe.sandbox, setpriv, noNewPrivileges: setpriv !== null, user };
}

/** The command that starts QEMU under its confinement, and QEMU's own arguments. */
export function confinedCommand(
  binary: string,
  args: readonly string[],
  confinement: Confinement,
): { readonly command: string; readonly prefix: readonly string[]; readonly args: readonly string[] } {
  const { sandboxed, setpriv, noNewPrivileges, user } = confinement;
  const qemuArguments = sandboxed ? ["-sandbox", sandboxOption, ...args] : [...args];
  if (setpriv === null || (user === null && !noNewPrivileges)) {
    return { command: binary, prefix: [], args: qemuArguments };
  }
  const prefix = [
    ...(noNewPrivileges ? ["--no-new-privs"] : []),
    ...(user === null
      ? []
      : [
          `--reuid=${user.uid}`,
          `--regid=${user.gid}`,
          // Node would leave it our own groups, root's.
          `--groups=${user.groups.join(",")}`,
          ...["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"],
        ]),
    "--",
    binary,
  ];
  return { command: setpriv, prefix, args: qemuArguments };
}

/**
 * Looks at the configuration when an agent starts, before there is a VM. Returns what the operator should know of how
 * QEMU will run; null if there is nothing to say. Throws OperationError if what is asked for cannot be had.
 */
export async function checkConfinement(settings: QemuSettings): Promise<string | null> {
  if (settings.user !== undefined || settings.sandbox === "on") await confinementOf(settings);
  if (process.geteuid?.() !== 0 || settings.user !== undefined) return null;
  return (
    "QEMU runs as root here, and device state and disks from peers are input to it; run the agent as a user of its own " +
    "(User= of its service), or name an unprivileged user in qemu.user"
  );
}
