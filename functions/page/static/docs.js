// The API's description, read from openapi.json and shown without any other library or origin.

const METHODS = ["post", "get", "put", "patch", "delete"];

const $ = (id) => document.getElementById(id);

/** Make an element with children: elements and texts. */
function make(name, options = {}, ...children) {
  const element = Object.assign(document.createElement(name), options);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// ── texts: the description uses paragraphs, lists, tables, `code`, **bold** ──

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
    return part;
  });
}

function prose(text) {
  return (text ?? "").trim().split(/\n\n+/).filter(Boolean).map((block) => {
    const lines = block.split("\n");
    if (lines[0].startsWith("|")) {
      const rows = lines.filter((line) => !/^[|\s-]+$/.test(line)).map((line) => line.split("|").slice(1, -1));
      return table(rows[0].map((cell) => cell.trim()), rows.slice(1).map((row) => row.map((cell) => inline(cell.trim()))));
    }
    if (/^\d+\. /.test(lines[0])) {
      return make("ol", {}, ...lines.map((line) => make("li", {}, ...inline(line.replace(/^\d+\. /, "")))));
    }
    return make("p", {}, ...inline(lines.join(" ")));
  });
}

function table(head, rows) {
  const cells = (name, row) => row.map((cell) => make(name, name === "th" ? { scope: "col" } : {}, ...[cell].flat()));
  return make("div", { className: "wide", tabIndex: 0 }, make("table", {},
    make("thead", {}, make("tr", {}, ...cells("th", head))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells("td", row))))));
}

// ── schemas ──

function nameOf(schema) {
  return schema?.$ref?.split("/").pop();
}

function link(name) {
  return make("a", { href: `#schema-${name}` }, name);
}

function typeOf(schema) {
  if (!schema) return ["anything"];
  if (schema.$ref) return [link(nameOf(schema))];
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.flatMap((one, at) => (at ? [" or ", ...typeOf(one)] : typeOf(one)));
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items)];
  if (schema.const !== undefined) return [make("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return ["one of ", ...schema.enum.flatMap((one, at) => [at ? ", " : "", make("code", {}, String(one))])];
  return [schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "anything"];
}

function bounds(schema) {
  const whole = { ...schema, ...(schema.anyOf ?? []).find((one) => one.type !== "null") };
  const named = { minimum: "at least", maximum: "at most", exclusiveMinimum: "more than", maxLength: "characters, at most",
    minItems: "entries, at least", maxItems: "entries, at most" };
  return Object.entries(named).filter(([key]) => whole[key] !== undefined).map(([key, words]) => `${words} ${whole[key]}`).join("; ");
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => [
    [make("code", {}, name), required.has(name) ? "" : " (optional)"],
    typeOf(field),
    [...inline(field.description ?? ""), bounds(field) ? ` ${bounds(field)}.` : ""],
  ]);
  return rows.length ? table(["field", "type", "meaning"], rows) : null;
}

function example(value) {
  return make("pre", { tabIndex: 0 }, JSON.stringify(value, null, 2));
}

function jsonOf(holder) {
  return holder?.content?.["application/json"]?.schema;
}

// ── the page ──

function operation(method, path, item, schemas) {
  const body = jsonOf(item.requestBody);
  const inputs = (item.parameters ?? []).map((one) => [
    [make("code", {}, one.name), one.required ? "" : " (optional)"], [one.in], [...typeOf(one.schema)], inline(one.description ?? ""),
  ]);
  const answers = Object.entries(item.responses ?? {}).map(([status, answer]) => [
    [status], [...prose(answer.description).flatMap((block) => [...block.childNodes])], jsonOf(answer) ? typeOf(jsonOf(answer)) : [""],
  ]);
  const named = schemas[nameOf(body)];
  return make("section", { id: item.operationId },
    make("h3", {}, make("span", { className: "method" }, method.toUpperCase()), " ", make("code", {}, path)),
    make("p", {}, make("strong", {}, item.summary ?? "")), ...prose(item.description),
    ...(item.security?.some((one) => !Object.keys(one).length) ? [make("p", {}, "Needs no token.")] : []),
    ...(inputs.length ? [make("h4", {}, "Parameters"), table(["name", "in", "type", "meaning"], inputs)] : []),
    ...(body ? [make("h4", {}, "Body: ", ...typeOf(body))] : []),
    ...(named?.examples ?? []).map(example),
    make("h4", {}, "Answers"), table(["status", "meaning", "body"], answers));
}

function schemaSection(name, schema) {
  return make("section", { id: `schema-${name}` }, make("h3", {}, name), ...prose(schema.description),
    schema.enum ? make("p", {}, ...typeOf(schema)) : null, fields(schema), ...(schema.examples ?? []).map(example));
}

function entry(href, ...text) {
  return make("li", {}, make("a", { href }, ...text));
}

function show(described) {
  const { schemas, securitySchemes } = described.components;
  const page = $("description");
  const routes = $("routes");
  page.replaceChildren(make("h1", {}, described.info.title, ": the API"), ...prose(described.info.description));
  for (const scheme of Object.values(securitySchemes ?? {})) {
    page.append(make("h2", { id: "token" }, "The token"), ...prose(scheme.description));
    routes.append(entry("#token", "The token"));
  }
  for (const tag of described.tags ?? []) {
    page.append(make("h2", {}, tag.name), ...prose(tag.description));
    for (const [path, item] of Object.entries(described.paths).sort(([one], [other]) => (one < other ? -1 : 1))) {
      for (const method of METHODS.filter((one) => item[one]?.tags?.includes(tag.name))) {
        page.append(operation(method, path, item[method], schemas));
        routes.append(entry(`#${item[method].operationId}`, make("span", { className: "method" }, method.toUpperCase()), " ", path));
      }
    }
  }
  page.append(make("h2", { id: "events" }, "Events"));
  routes.append(entry("#events", "Events"));
  for (const item of Object.values(described.webhooks ?? {})) page.append(operation("post", "your CallbackUrl", item.post, schemas));
  page.append(make("h2", { id: "schemas" }, "Shapes"));
  routes.append(entry("#schemas", "Shapes"));
  for (const [name, schema] of Object.entries(schemas)) page.append(schemaSection(name, schema));
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

try {
  const answer = await fetch("/api/v1/openapi.json");
  if (!answer.ok) throw new Error(String(answer.status));
  show(await answer.json());
} catch {
  $("state").textContent = "The description could not be loaded. Load this page again.";
}
