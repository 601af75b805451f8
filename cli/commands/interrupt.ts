/** Ctrl-C as a signal that commands can pass on. */

/** Fires at the first SIGINT or SIGTERM; a second one ends the program. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
