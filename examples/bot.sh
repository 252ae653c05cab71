# bot.sh ROOM NAME COMMAND...: gives each text that begins with NAME to a command, and answers with what that prints.
room=$1 name=$2 again=--again # at first: the message with which the last run was stopped, once more
shift 2
touch answered # sender and id of each message that is done: it may come twice
while message=$(unibus wait "$room" --json $again); do
  again=
  key=$(jq -r '.from + " " + .id' <<< "$message")
  text=$(jq -r 'select(.kind == "text" and (.hops // 0) < 8).text' <<< "$message")
  if [[ $text != "$name"* ]] || grep -qxF -e "$key" answered; then continue; fi
  if answer=$("$@" <<< "${text#"$name"}") && [[ $answer && ${#answer} -le 100000 ]]; then
    hops=$(jq '(.hops // 0) + 1' <<< "$message")
    printf %s "$answer" | unibus send "$room" --reply-to "${key#* }" --hops "$hops" || exit 1
  else
    echo "not answered: $key: the command failed, or printed nothing or too much" >&2
  fi
  echo "$key" >> answered
done
