import tseslint from "typescript-eslint";
import { defineConfig, globalIgnores } from "eslint/config";

const sizes = (lines, linesPerFunction) => ({
  "max-lines": ["error", { max: lines, skipBlankLines: true, skipComments: true }],
  "max-lines-per-function": ["error", { max: linesPerFunction, skipBlankLines: true, skipComments: true }],
});

export default defineConfig(
  globalIgnores(["dist/", "coverage/", ".cache/", "test/fixtures/"]),
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // A union that grows must break every switch over it.
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      // Numbers, bigints and booleans read well in sentences; objects do not.
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", caughtErrors: "all" }],
    },
  },
  {
    files: ["src/**/*.ts", "store/**/*.ts"],
    rules: {
      ...sizes(300, 40),
      // Only src/report writes to stdout and stderr.
      "no-console": "error",
    },
  },
  {
    files: ["src/**/*.ts", "store/**/*.ts"],
    ignores: ["src/cli.ts", "src/report/**"],
    rules: {
      "no-restricted-globals": [
        "error",
        { name: "process", message: "Only src/cli.ts and src/report read `process`; pass the value down." },
      ],
      "no-restricted-imports": [
        "error",
        { paths: [{ name: "node:process", message: "Only src/cli.ts and src/report read `process`." }] },
      ],
    },
  },
  {
    files: ["test/**/*.ts"],
    rules: {
      ...sizes(600, 250),
      // Tests index into results they have just counted, and hand callbacks to fast-check.
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-confusing-void-expression": "off",
      "@typescript-eslint/require-await": "off",
    },
  },
  {
    files: ["**/*.js", "**/*.cjs"],
    extends: [tseslint.configs.strict],
    rules: {
      "@typescript-eslint/no-require-imports": "off",
      ...sizes(300, 60),
    },
  },
);
