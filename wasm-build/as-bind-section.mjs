/**
 * An asc transform that writes the custom section "as-bind_bindings", from which as-bind 0.8.2 learns the types
 * of the exported functions. as-bind's own transform is made for asc 0.19 and does not load under 0.28.
 */
import { Transform } from "assemblyscript/transform";

/** SourceKind.UserEntry, which asc does not export to transforms. */
const USER_ENTRY = 1;

export class AsBindSection extends Transform {
  afterCompile(module) {
    const typeIds = {};
    const exportedFunctions = {};
    for (const [name, instance] of exportedInstances(this.program)) {
      const { parameterTypes, returnType } = instance.signature;
      exportedFunctions[name] = {
        returnType: typeName(returnType, typeIds),
        parameters: parameterTypes.map((type) => typeName(type, typeIds)),
      };
    }
    const section = JSON.stringify({ typeIds, importedFunctions: {}, exportedFunctions });
    module.addCustomSection("as-bind_bindings", new TextEncoder().encode(section));
  }
}

/** The functions that the entry file exports, sorted so that the section does not depend on file order. */
function exportedInstances(program) {
  const found = [];
  for (const file of program.filesByName.values()) {
    if (file.source.sourceKind !== USER_ENTRY || file.exports === null) continue;
    for (const [name, element] of file.exports) {
      const instance = element.instances?.get("");
      if (instance?.signature !== undefined) found.push([name, instance]);
    }
  }
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

function typeName(type, typeIds) {
  const managed = type.getClass();
  if (managed === null) return type.toString();
  typeIds[managed.internalName] = { id: managed.id, byteSize: managed.nextMemoryOffset };
  return managed.internalName;
}
