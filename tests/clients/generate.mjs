// `node generate.mjs DESCRIPTION FOLDER`: generate the TypeScript client from the API's description.
import { createClient } from "@hey-api/openapi-ts";

const [input, path] = process.argv.slice(2);
await createClient({
  input,
  // Names with .js run after tsc in Node.js and in browsers, without a bundler.
  output: { path, importFileExtension: ".js" },
  plugins: ["@hey-api/typescript", "@hey-api/sdk", { name: "@hey-api/client-fetch", includeInEntry: true }],
  logs: { level: "error", file: false },
});
