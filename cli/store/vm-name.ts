/** Names that become parts of paths: checked before they touch the file system. */

import { OperationError } from "../errors.ts";

const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Rule for names of VMs and sites, for messages. */
export const nameRule =
  "1 to 63 characters: lower-case letters, digits, '.', '_' and '-', a letter or digit first";

/** True if the text can name a VM or a site. */
export function isValidName(name: string): boolean {
  return namePattern.test(name);
}

/** Returns the name, or throws OperationError "usage". `what` says what it names. */
export function checkName(name: string, what: string): string {
  if (!isValidName(name)) {
    throw new OperationError(
      "usage",
      `Cannot use ${JSON.stringify(name.slice(0, 80))} as ${what}: names have ${nameRule}`,
    );
  }
  return name;
}
