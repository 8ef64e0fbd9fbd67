import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["assets/js/vendor/**"] },
  js.configs.recommended,
  {
    files: ["assets/js/**/*.js"],
    languageOptions: { sourceType: "script", globals: globals.browser },
    rules: {
      "array-callback-return": "error",
      curly: ["error", "multi-line"],
      eqeqeq: "error",
      "no-eval": "error",
      "no-implicit-globals": "error", // all scripts share the page's global scope
      "no-implied-eval": "error",
      "no-new-func": "error",
      // An event handler that returns false cancels the event: a key is not typed, a box not checked.
      "no-restricted-syntax": ["error", { selector: "AssignmentExpression[left.property.name=/^on[a-z]+$/] > ArrowFunctionExpression > LogicalExpression", message: "Return nothing: use void or braces." }],
      "no-self-compare": "error",
      "no-shadow": "error",
      "no-template-curly-in-string": "error",
      "no-throw-literal": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_", caughtErrors: "all" }],
      "no-use-before-define": ["error", { functions: false, variables: false }],
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      strict: ["error", "global"],
      "no-unused-expressions": ["error", { allowShortCircuit: true, allowTernary: true }],
    },
  },
  {
    files: ["tests/js/**/*.mjs"],
    languageOptions: { globals: globals.node },
  },
];
