/**
 * The C twins of the kernels (`test/bench/native`): compiled here and now, for this machine and for any of its kind,
 * and run as processes that take turns with us. What a machine lacks for them is told, and its kernels have no twin.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";

const sources = "test/bench/native";
/** Where Debian's librust-blake3-dev has the C implementation of BLAKE3's authors. */
const crates = "usr/share/cargo/registry";
const blake3Package = "librust-blake3-dev";

/** As distributions build, for any machine of its kind, and for this machine alone. Libraries choose at run time in both. */
export const builds = [
  { name: "native", flags: ["-O3"] },
  { name: "tuned", flags: ["-O3", "-march=native"] },
] as const;

/** Names of the builds. */
export type BuildName = (typeof builds)[number]["name"];

/** A process with the C kernels of one build. */
export type Twins = {
  readonly build: BuildName;
  /** Milliseconds that `passes` passes of a kernel took, and what the last one returned. */
  run(kernel: string, passes: number): Promise<{ ms: number; result: bigint }>;
  end(): Promise<void>;
};

/** What could be compiled: the programs by build, and what they lack. */
export type Compiled = {
  readonly programs: ReadonlyMap<BuildName, string>;
  /** Whether the programs have a kernel of this name. */
  has(kernel: string): boolean;
  /** One sentence for each missing thing, with the package that brings it. */
  readonly notes: readonly string[];
  /** The compiler's and the libraries' versions. */
  readonly versions: readonly string[];
};

/** Compiles all builds into `folder`. Throws Error if the compiler refuses what it is given. */
export function compileTwins(folder: string): Compiled {
  const notes: string[] = [];
  const compiler = ["cc", "gcc"].find((name) => spawnSync(name, ["--version"]).status === 0);
  if (compiler === undefined || !links(compiler, folder, [])) {
    notes.push("no native twins: there is no C compiler that works (Debian: gcc libc6-dev)");
    return { programs: new Map(), has: () => false, notes, versions: [] };
  }
  const lz4 = links(compiler, folder, ["-l:liblz4.so.1"]);
  if (!lz4) notes.push("no native LZ4: liblz4.so.1 is missing (Debian: liblz4-1)");
  const blake3 = findBlake3(folder);
  if (blake3 === undefined)
    notes.push(`no native BLAKE3: its C sources are missing (Debian: ${blake3Package})`);

  const own = ["main.c", "pages.c", "bitmaps.c"].map((name) => join(sources, name));
  if (lz4) own.push(join(sources, "lz4.c"));
  const programs = new Map<BuildName, string>();
  for (const { name, flags } of builds) {
    const program = join(folder, `twins-${name}`);
    const parts = [...flags, ...own];
    if (lz4) parts.push("-DWITH_LZ4");
    if (blake3)
      parts.push("-DWITH_BLAKE3", `-I${blake3.folder}`, join(sources, "blake3.c"), ...blake3.sources);
    compile(compiler, [...parts, "-o", program, ...(lz4 ? ["-l:liblz4.so.1"] : [])]);
    programs.set(name, program);
  }
  const version = spawnSync(compiler, ["--version"], { encoding: "utf8" }).stdout.split("\n")[0]!;
  const versions = [version, ...(blake3 ? [`BLAKE3 C sources ${blake3.version}`] : [])];
  const has = (kernel: string) =>
    kernel.startsWith("lz4_") ? lz4 : kernel.startsWith("blake3_") ? blake3 !== undefined : true;
  return { programs, has, notes, versions };
}

/** Starts a program on the inputs in `folder`. Throws Error if it ends before it has answered. */
export function startTwins(build: BuildName, program: string, folder: string): Twins {
  const child = spawn(program, [folder], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    build,
    async run(kernel, passes) {
      child.stdin.write(`${kernel} ${passes}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`Cannot run ${kernel} of ${program}: it ended with ${child.exitCode}`);
      const [nanoseconds, result] = value.split(" ");
      return { ms: Number(nanoseconds) / 1e6, result: BigInt(result!) };
    },
    end: () => endProgram(child),
  };
}

async function endProgram(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exited = once(child, "exit");
  child.stdin!.end();
  await exited;
}

/** Whether a program that does nothing can be linked with these libraries. */
function links(compiler: string, folder: string, libraries: readonly string[]): boolean {
  const source = join(folder, "empty.c");
  writeFileSync(source, "#include <stdio.h>\nint main(void) { return 0; }\n");
  return spawnSync(compiler, [source, "-o", join(folder, "empty"), ...libraries]).status === 0;
}

function compile(compiler: string, parts: readonly string[]): void {
  const { status, stderr } = spawnSync(compiler, parts, { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot compile the native twins: ${stderr}`);
}

type Blake3 = { folder: string; version: string; sources: string[] };

/** The installed package's sources, or those of the package as apt-get downloads it, unpacked into `folder`. */
function findBlake3(folder: string): Blake3 | undefined {
  const installed = blake3In("/");
  if (installed !== undefined) return installed;
  const unpacked = join(folder, "blake3");
  mkdirSync(unpacked);
  spawnSync("apt-get", ["download", "-qq", blake3Package], { cwd: unpacked, stdio: "ignore" });
  const file = readdirSync(unpacked).find((name) => name.endsWith(".deb"));
  if (file === undefined || spawnSync("dpkg-deb", ["-x", file, "."], { cwd: unpacked }).status !== 0)
    return undefined;
  return blake3In(unpacked);
}

/** With the vector code for this processor where there is some. */
function blake3In(root: string): Blake3 | undefined {
  const registry = join(root, crates);
  const crate = existsSync(registry)
    ? readdirSync(registry).find((name) => /^blake3-\d/.test(name))
    : undefined;
  if (crate === undefined) return undefined;
  const folder = join(registry, crate, "c");
  const names = ["blake3.c", "blake3_dispatch.c", "blake3_portable.c"];
  if (process.arch === "x64") {
    names.push(...["sse2", "sse41", "avx2", "avx512"].map((name) => `blake3_${name}_x86-64_unix.S`));
  } else if (process.arch === "arm64") names.push("blake3_neon.c");
  return { folder, version: crate.slice("blake3-".length), sources: names.map((name) => join(folder, name)) };
}
