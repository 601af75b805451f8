/** Runs the portable checks on the sources as they are, in a runtime that reads TypeScript. Prints the result. */
import * as api from "../../src/index.ts";
import { runPortableChecks } from "./checks.ts";

console.log(JSON.stringify(await runPortableChecks(api)));
