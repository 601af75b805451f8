/** The performance model: what a leg will take, before it begins. docs/MODEL.md has the equations, units and sources. */

export * from "./ageing.ts";
export * from "./break-even.ts";
export * from "./calibration.ts";
export * from "./leg.ts";
export * from "./link.ts";
export * from "./load.ts";
export { ModelError } from "./model-error.ts";
export * from "./schedule.ts";
