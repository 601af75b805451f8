/** A failure that the person who started the script can act on; its message is all they need to see. */
export class Failure extends Error {
  name = "Failure";
}

/** Says `message` on stderr as the script `script`: stdout belongs to the program that is set up. */
export function say(script, message) {
  process.stderr.write(`${script}: ${message}\n`);
}

/**
 * Runs `main`. A Failure and a wrong option become one line on stderr and exit code 1; anything else is a bug
 * and keeps its stack.
 */
export async function runScript(script, main) {
  try {
    await main();
  } catch (error) {
    const expected = error instanceof Failure || String(error.code).startsWith("ERR_PARSE_ARGS");
    if (!expected) throw error;
    say(script, error.message);
    process.exitCode = 1;
  }
}
