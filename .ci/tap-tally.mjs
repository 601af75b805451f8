/**
 * Counts the tests in a TAP stream. A test is an innermost subtest, that is a `t.test(...)` without others in it,
 * or a file without any. A block with subtests counts as one failed test if it failed and none of them did: a
 * crash, a timeout, a wrong plan or a failed assertion between them.
 */
import { Parser } from "tap-parser";

/**
 * Makes a counter: `write(text)` takes the next part of the stream, `end()` gives back the counts, which are
 * { passed, failed, skipped, todo } tests and assertions.
 *
 * `onFailure(names, point)` is called for each failed assertion, and for each failed block that has none, with the
 * names of the blocks around it and its own; `onSkip(names, point)` for each skipped point; `onFile(point)` for each
 * test point at the top level.
 */
export function createTally({ onFailure = () => {}, onSkip = () => {}, onFile = () => {} } = {}) {
  const total = { passed: 0, failed: 0, skipped: 0, todo: 0, assertions: 0 };
  const parser = new Parser();
  const top = countBlock(parser, [], total, { onFailure, onSkip });
  let complete;
  parser.on("assert", onFile);
  parser.on("complete", (results) => {
    complete = results;
  });
  return {
    write: (text) => parser.write(text),
    end() {
      parser.end();
      // A stream that is empty or was cut off need not have a failed point.
      const whole = complete.ok && complete.count > 0;
      if (!whole && top.failedTests === 0) total.failed += 1;
      return total;
    },
  };
}

/** Adds what `parser` reports about one block to `total`; gives back the live counts of that block alone. */
function countBlock(parser, names, total, listeners) {
  const block = { subtests: 0, failedTests: 0, assertions: 0, failedAssertions: 0, skipped: 0 };
  let child;
  parser.on("child", (childParser) => {
    child = countBlock(childParser, [...names, childParser.name], total, listeners);
    block.subtests += 1;
  });
  parser.on("assert", (point) => {
    // The point after a subtest sums it up.
    const closed = child;
    child = undefined;
    if (closed !== undefined) block.failedTests += closed.failedTests;
    if (point.todo) {
      total.todo += 1;
    } else if (point.skip) {
      total.skipped += 1;
      block.skipped += 1;
      listeners.onSkip([...names, point.name], point);
    } else if (closed === undefined) {
      total.assertions += 1;
      block.assertions += 1;
      if (point.ok) return;
      block.failedAssertions += 1;
      listeners.onFailure([...names, point.name], point);
    } else if (!point.ok && closed.failedTests === 0) {
      total.failed += 1;
      block.failedTests += 1;
      if (closed.failedAssertions === 0) listeners.onFailure([...names, point.name], point);
    } else if (point.ok && closed.subtests === 0 && (closed.assertions > 0 || closed.skipped === 0)) {
      // With nothing but skipped points in it, nothing was tested.
      total.passed += 1;
    }
  });
  return block;
}
