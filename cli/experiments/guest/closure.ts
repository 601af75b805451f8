/**
 * Which Debian packages a set of packages needs, from what `apt-cache depends --recurse` prints:
 *
 *     NAME                       a package, followed by what it depends on
 *       Depends: NAME            also PreDepends; `<NAME>` where only other packages provide it
 *      |Depends: NAME            one of several: the next line has another one
 *         NAME                   a package that provides the one above
 */

const packageLine = /^([a-z0-9][a-z0-9+.-]*)$/;
const virtualPackageLine = /^<[^>]+>$/;
const dependencyLine = /^ ([ |])(?:Pre)?Depends: (\S+)$/;
const providerLine = /^ {4}(\S+)$/;

/** The packages and all that they need, sorted. Of several that would do, the first one named is taken. */
export function packageClosure(wanted: readonly string[], dependsOutput: string): string[] {
  const dependencies = parseDepends(dependsOutput);
  const closure = new Set<string>();
  const visit = (name: string): void => {
    if (closure.has(name)) return;
    const needed = dependencies.get(name);
    if (needed === undefined) throw new Error(`apt knows no package ${name}`);
    closure.add(name);
    for (const dependency of needed) visit(dependency);
  };
  for (const name of wanted) visit(name);
  return [...closure].sort();
}

function parseDepends(text: string): Map<string, string[]> {
  const dependencies = new Map<string, string[]>();
  let current: string[] = [];
  let isGroup = false;
  let hasChosen = false;
  let wantsProvider = false;
  for (const line of text.split("\n")) {
    const name = packageLine.exec(line)?.[1];
    if (name !== undefined || virtualPackageLine.test(line)) {
      current = [];
      if (name !== undefined) dependencies.set(name, current);
      isGroup = hasChosen = wantsProvider = false;
      continue;
    }
    const [, mark, dependency] = dependencyLine.exec(line) ?? [];
    if (dependency !== undefined) {
      if (!isGroup) hasChosen = false;
      isGroup = mark === "|";
      wantsProvider = !hasChosen && dependency.startsWith("<");
      if (hasChosen || wantsProvider) continue;
      current.push(dependency);
      hasChosen = true;
    } else if (wantsProvider) {
      const provider = providerLine.exec(line)?.[1];
      if (provider === undefined) continue;
      current.push(provider);
      hasChosen = true;
      wantsProvider = false;
    }
  }
  return dependencies;
}
