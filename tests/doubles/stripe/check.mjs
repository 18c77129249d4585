// Parameters against the schema of the operation: texts become what the schema says, everything else is refused the way
// Stripe refuses it. An object that names its properties takes no others, also where the file does not say so.
import { StripeError, invalid } from "./errors.mjs";

const below = (name, key) => (name === "" ? key : `${name}[${key}]`);
const depth = (error) => (error.fields.param ?? "").split("[").length;

const SCALARS = {
  integer(value, name) {
    if (!/^-?\d{1,15}$/.test(value)) throw invalid(`Invalid integer: ${value}`, { code: "parameter_invalid_integer", param: name });
    return Number(value);
  },
  number(value, name) {
    if (!/^-?\d+(\.\d+)?$/.test(value)) throw invalid(`Invalid decimal: ${value}`, { param: name });
    return Number(value);
  },
  boolean(value, name) {
    if (value !== "true" && value !== "false") throw invalid(`Invalid boolean: ${value}`, { param: name });
    return value === "true";
  },
  string: (value) => value,
};

function scalar(schema, value, name) {
  if (typeof value !== "string") throw invalid(`Invalid ${schema.type}`, { param: name });
  if (schema.enum && !schema.enum.includes(value))
    throw invalid(`Invalid ${name}: must be one of ${schema.enum.filter((one) => one !== "").join(", ")}`, { param: name });
  if (value === "" && !schema.enum) throw invalid(`You passed an empty string for '${name}'.`, { code: "parameter_invalid_empty", param: name });
  if (schema.maxLength !== undefined && value.length > schema.maxLength)
    throw invalid(`Invalid string: must be at most ${schema.maxLength} characters`, { code: "parameter_invalid_string_blank", param: name });
  return SCALARS[schema.type](value, name);
}

function array(schema, value, name) {
  const keys = typeof value === "object" ? Object.keys(value) : [];
  if (keys.length === 0 || keys.some((key, i) => key !== String(i))) throw invalid("Invalid array", { param: name });
  return keys.map((key) => coerce(schema.items, value[key], below(name, key)));
}

function object(schema, value, name) {
  if (typeof value !== "object") throw invalid("Invalid object", { param: name });
  const out = {};
  for (const [key, one] of Object.entries(value)) {
    const known = Object.hasOwn(schema.properties ?? {}, key) && schema.properties[key];
    const other = typeof schema.additionalProperties === "object" ? schema.additionalProperties : undefined;
    if (!known && !other) {
      const param = below(name, key);
      throw invalid(`Received unknown parameter: ${param}`, { code: "parameter_unknown", param });
    }
    const isUnset = !known && one === ""; // an empty text takes an entry of a map away
    out[key] = isUnset ? "" : coerce(known || other, one, below(name, key));
  }
  for (const key of schema.required ?? []) {
    const param = below(name, key);
    if (!Object.hasOwn(out, key)) throw invalid(`Missing required param: ${param}.`, { code: "parameter_missing", param });
  }
  return out;
}

/** Of several kinds the first that fits; where none does, the reason of the one that came furthest. */
function anyOf(schema, value, name) {
  let furthest;
  for (const one of schema.anyOf) {
    try {
      return coerce(one, value, name);
    } catch (error) {
      if (!(error instanceof StripeError)) throw error;
      if (!furthest || depth(error) > depth(furthest)) furthest = error;
    }
  }
  throw furthest;
}

export function coerce(schema, value, name = "") {
  if (schema.anyOf) return anyOf(schema, value, name);
  if (schema.type === "array") return array(schema, value, name);
  if (schema.type === "object") return object(schema, value, name);
  return scalar(schema, value, name);
}

/** The routes of the file: [{method, pattern, names, path, params}], `params` the schema of what may be given. */
export function routesOf(spec) {
  return Object.entries(spec.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({
    method: method.toUpperCase(), path,
    names: [...path.matchAll(/\{(\w+)\}/g)].map((found) => found[1]),
    pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, "([^/]+)")}$`),
    params: paramsOf(operation, method),
  })));
}

function paramsOf(operation, method) {
  if (method === "post") return operation.requestBody?.content["application/x-www-form-urlencoded"].schema ?? { type: "object" };
  const query = (operation.parameters ?? []).filter((one) => one.in === "query");
  return { type: "object", properties: Object.fromEntries(query.map((one) => [one.name, one.schema])),
    required: query.filter((one) => one.required).map((one) => one.name) };
}
