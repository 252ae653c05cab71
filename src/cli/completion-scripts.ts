/**
 * Generates completion scripts for bash, zsh and fish from a description of the command tree.
 * Each script walks the words before the cursor down the tree to a path such as `/room/new`, and then offers what can
 * follow there: subcommands, options, fixed words, or files. completion.ts builds the description from commander.
 */

/** The value that an option takes: none, one of fixed words, a file, or any text. */
export type OptionValue = null | readonly string[] | "file" | "text";

/** What can follow a command: subcommands, options, and the fixed words of its arguments. */
export interface CommandWords {
  /** For example `/room/new`; empty for the program itself. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly about: string }[];
  readonly options: readonly {
    readonly name: string;
    readonly about: string;
    readonly takes: OptionValue;
  }[];
  readonly choices: readonly string[];
  /** Whether an argument is a file. */
  readonly takesFiles: boolean;
}

/** Quotes a text for bash and zsh. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The places of options whose value matches, as patterns of `path option`. */
function placesOf(tree: readonly CommandWords[], isMeant: (takes: unknown) => boolean): string[] {
  return tree.flatMap(({ path, options }) =>
    options.filter(({ takes }) => isMeant(takes)).map(({ name }) => quoted(`${path} ${name}`)),
  );
}

/** One `case` branch for each option with a fixed set of words. */
function choiceBranches(tree: readonly CommandWords[], branch: (place: string, words: string) => string): string[] {
  return tree.flatMap(({ path, options }) =>
    options.flatMap(({ name, takes }) =>
      Array.isArray(takes) ? [branch(quoted(`${path} ${name}`), takes.join(" "))] : [],
    ),
  );
}

/** A `case` branch for some places, or nothing if there are none. */
const branchFor = (places: readonly string[], work: string): string[] =>
  places.length === 0 ? [] : [`    (${places.join("|")}) ${work} ;;`];

const pathsOf = (tree: readonly CommandWords[]): string =>
  tree
    .filter(({ path }) => path !== "")
    .map(({ path }) => quoted(path))
    .join("|");

function bashScript(tree: readonly CommandWords[]): string {
  const words = tree.map(({ path, commands, options, choices }) => {
    const all = [...commands, ...options].map(({ name }) => name);
    return `    (${quoted(path)}) words=${quoted([...all, ...choices].join(" "))} ;;`;
  });
  return [
    "# Completes unibus in bash. Made by: unibus completion bash",
    "_unibus() {",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    '  local at="" words="" i cur="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
    "  COMPREPLY=()",
    "  for ((i = 1; i < COMP_CWORD; i++)); do",
    `    case "$at/\${COMP_WORDS[i]}" in (${pathsOf(tree)}) at="$at/\${COMP_WORDS[i]}" ;; esac`,
    "  done",
    '  case "$at $before" in',
    ...choiceBranches(
      tree,
      (place, list) => `    (${place}) COMPREPLY=($(compgen -W ${quoted(list)} -- "$cur")); return ;;`,
    ),
    ...branchFor(
      placesOf(tree, (takes) => takes === "file"),
      'COMPREPLY=($(compgen -f -- "$cur")); return',
    ),
    ...branchFor(
      placesOf(tree, (takes) => takes === "text"),
      "return",
    ),
    "  esac",
    '  case "$at" in',
    ...words,
    "  esac",
    '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
    ...filesFallback(tree, '  case "$at" in', 'COMPREPLY+=($(compgen -f -- "$cur"))'),
    "}",
    "complete -o filenames -F _unibus unibus",
    "",
  ].join("\n");
}

/** Completes arguments that are files. */
function filesFallback(tree: readonly CommandWords[], head: string, work: string): string[] {
  const places = tree.filter(({ takesFiles }) => takesFiles).map(({ path }) => quoted(path));
  return places.length === 0 ? [] : [head, ...branchFor(places, work), "  esac"];
}

function zshScript(tree: readonly CommandWords[]): string {
  const item = ({ name, about }: { readonly name: string; readonly about: string }) =>
    quoted(`${name.replaceAll(":", "\\:")}:${about}`);
  const items = tree.map(({ path, commands, options, choices }) => {
    const all = [...commands.map(item), ...choices.map((name) => quoted(name)), ...options.map(item)];
    return `    (${quoted(path)}) items=(${all.join(" ")}) ;;`;
  });
  return [
    "#compdef unibus",
    "# Completes unibus in zsh. Made by: unibus completion zsh",
    "_unibus() {",
    '  local at="" word',
    "  local -a items",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    '  for word in "${(@)words[2,CURRENT-1]}"; do',
    `    case "$at/$word" in (${pathsOf(tree)}) at="$at/$word" ;; esac`,
    "  done",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    '  case "$at ${words[CURRENT-1]}" in',
    ...choiceBranches(tree, (place, list) => `    (${place}) compadd -- ${list}; return ;;`),
    ...branchFor(
      placesOf(tree, (takes) => takes === "file"),
      "_files; return",
    ),
    ...branchFor(
      placesOf(tree, (takes) => takes === "text"),
      "return",
    ),
    "  esac",
    '  case "$at" in',
    ...items,
    "  esac",
    "  _describe unibus items",
    ...filesFallback(tree, '  case "$at" in', "_files"),
    "}",
    'if [ "$funcstack[1]" = "_unibus" ]; then _unibus "$@"; else compdef _unibus unibus; fi',
    "",
  ].join("\n");
}

function fishScript(tree: readonly CommandWords[]): string {
  const quote = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = tree.flatMap(({ path, commands, options, choices, takesFiles }) => {
    const where = `complete -c unibus -n "__unibus_at '${path}'"`;
    const following = (takes: OptionValue) => {
      if (takes === null) return "";
      return takes === "file" ? " -r -F" : takes === "text" ? " -x" : ` -x -a ${quote(takes.join(" "))}`;
    };
    return [
      ...commands.map(({ name, about }) => `${where} -f -a ${quote(name)} -d ${quote(about)}`),
      ...choices.map((name) => `${where} -f -a ${quote(name)}`),
      ...options.map(({ name, about, takes }) => {
        return `${where} -l ${name.replace(/^-+/, "")}${following(takes)} -d ${quote(about)}`;
      }),
      ...(takesFiles ? [`${where} -F`] : []),
    ];
  });
  return [
    "# Completes unibus in fish. Made by: unibus completion fish",
    "function __unibus_at",
    "  set -l at ''",
    "  for word in (commandline -opc)[2..-1]",
    `    switch "$at/$word"`,
    `      case ${tree.flatMap(({ path }) => (path === "" ? [] : [quote(path)])).join(" ")}`,
    '        set at "$at/$word"',
    "    end",
    "  end",
    '  test "$at" = "$argv[1]"',
    "end",
    "complete -c unibus -f",
    ...lines,
    "",
  ].join("\n");
}

/** The script generator for each shell. */
export const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript } as const satisfies Record<
  string,
  (tree: readonly CommandWords[]) => string
>;

/** A supported shell. */
export type Shell = keyof typeof scripts;
