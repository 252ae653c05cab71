/**
 * Generates completion scripts for bash, zsh and fish from a description of the command tree.
 * Each script walks the words before the cursor down the tree to a path such as `/room/new`, counts the arguments after
 * it, and then offers what can follow there: subcommands, options, fixed words, files, or names of rooms and people,
 * which it asks `unibus completion rooms|people` for. completion.ts builds the description from commander.
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
  /** Which names each argument takes, in order. */
  readonly names: readonly (Names | null)[];
  /** Whether the last argument may be given more than once. */
  readonly isVariadic: boolean;
}

/** Names that only the bus knows: the user's rooms, or the handles of its users. */
export type Names = "rooms" | "people";

/** Where names are offered, as patterns of `path count`, where count is the number of arguments before the cursor. */
function namePlaces(tree: readonly CommandWords[], kind: Names, rest: (path: string) => string): string[] {
  return tree.flatMap(({ path, names, isVariadic }) =>
    names.flatMap((one, at) => {
      if (one !== kind) return [];
      return [isVariadic && at === names.length - 1 ? rest(path) : quoted(`${path} ${at}`)];
    }),
  );
}

/** The branches that set `kind`: an exact place comes before one that stands for all further arguments. */
function nameBranches(tree: readonly CommandWords[]): string[] {
  const kinds = ["rooms", "people"] as const;
  const rest = (path: string) => `${quoted(`${path} `)}*`;
  const places = kinds.flatMap((kind) => namePlaces(tree, kind, rest).map((place) => ({ kind, place })));
  const isRest = ({ place }: { readonly place: string }) => place.endsWith("*");
  const ordered = [...places.filter((one) => !isRest(one)), ...places.filter(isRest)];
  return ordered.map(({ kind, place }) => `    (${place}) kind=${kind} ;;`);
}

/** Whether an option takes a value. */
const takesValue = (takes: unknown): boolean => takes !== null;

/** Walks one word, for bash and zsh: `at` is the path so far, `n` the number of arguments after it. */
function walk(tree: readonly CommandWords[], word: string): string[] {
  return [
    `    if [ "${word}" = "=" ]; then skip=1; continue; fi`,
    '    if [ -n "$skip" ]; then skip=""; continue; fi',
    `    case "$at/${word}" in (${pathsOf(tree)}) at="$at/${word}"; n=0; continue ;; esac`,
    `    case "$at ${word}" in (${placesOf(tree, takesValue).join("|")}) skip=1 ;; (*" -"*) ;; (*) n=$((n + 1)) ;; esac`,
  ];
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
    '  local at="" n=0 skip="" kind="" words="" word i cur="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
    "  COMPREPLY=()",
    "  for ((i = 1; i < COMP_CWORD; i++)); do",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    ...walk(tree, "${COMP_WORDS[i]}"),
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
    '  case "$at $n" in',
    ...nameBranches(tree),
    "  esac",
    // Not with compgen -W, which expands what it is given: these names come from other people.
    '  if [ -n "$kind" ] && [[ $cur != -* ]]; then',
    '    while IFS= read -r word; do [[ $word == "$cur"* ]] && COMPREPLY+=("$word"); done \\',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    '      < <("${COMP_WORDS[0]}" completion "$kind" 2>/dev/null </dev/null)',
    "  fi",
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
    '  local at="" n=0 skip="" kind="" word',
    "  local -a items names",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    '  for word in "${(@)words[2,CURRENT-1]}"; do',
    ...walk(tree, "$word"),
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
    '  case "$at $n" in',
    ...nameBranches(tree),
    "  esac",
    '  if [ -n "$kind" ]; then',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    '    names=("${(@f)$("${words[1]}" completion "$kind" 2>/dev/null </dev/null)}")',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own variable
    '    compadd -- "${(@)names:#}"',
    "  fi",
    "}",
    'if [ "$funcstack[1]" = "_unibus" ]; then _unibus "$@"; else compdef _unibus unibus; fi',
    "",
  ].join("\n");
}

function fishScript(tree: readonly CommandWords[]): string {
  const quote = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = tree.flatMap(({ path, commands, options, choices, takesFiles, names, isVariadic }) => {
    const where = `complete -c unibus -n "__unibus_at '${path}'"`;
    const following = (takes: OptionValue) => {
      if (takes === null) return "";
      return takes === "file" ? " -r -F" : takes === "text" ? " -x" : ` -x -a ${quote(takes.join(" "))}`;
    };
    const named = names.flatMap((kind, at) => {
      if (kind === null) return [];
      const count = isVariadic && at === names.length - 1 ? `${at} more` : String(at);
      return [`complete -c unibus -n "__unibus_at '${path}' ${count}" -f -a '(__unibus_names ${kind})'`];
    });
    return [
      ...commands.map(({ name, about }) => `${where} -f -a ${quote(name)} -d ${quote(about)}`),
      ...choices.map((name) => `${where} -f -a ${quote(name)}`),
      ...options.map(({ name, about, takes }) => {
        return `${where} -l ${name.replace(/^-+/, "")}${following(takes)} -d ${quote(about)}`;
      }),
      ...(takesFiles ? [`${where} -F`] : []),
      ...named,
    ];
  });
  const valued = placesOf(tree, takesValue).join(" ");
  return [
    "# Completes unibus in fish. Made by: unibus completion fish",
    "# __unibus_at PATH [COUNT [more]]: the cursor is after this command, and after COUNT arguments (or more).",
    "function __unibus_at",
    "  set -l at ''",
    "  set -l n 0",
    "  set -l skip ''",
    "  for word in (commandline -opc)[2..-1]",
    '    if test -n "$skip"',
    "      set skip ''",
    "      continue",
    "    end",
    `    switch "$at/$word"`,
    `      case ${tree.flatMap(({ path }) => (path === "" ? [] : [quote(path)])).join(" ")}`,
    '        set at "$at/$word"',
    "        set n 0",
    "        continue",
    "    end",
    '    switch "$at $word"',
    `      case ${valued}`,
    "        set skip 1",
    "      case '* -*'",
    "      case '*'",
    "        set n (math $n + 1)",
    "    end",
    "  end",
    '  test "$at" = "$argv[1]"; or return 1',
    "  test (count $argv) -lt 2; and return 0",
    '  test "$n" = "$argv[2]"; and return 0',
    '  test (count $argv) -gt 2; and test "$n" -gt "$argv[2]"',
    "end",
    "function __unibus_names",
    "  set -l command (commandline -opc)[1]",
    "  $command completion $argv[1] 2>/dev/null </dev/null",
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
