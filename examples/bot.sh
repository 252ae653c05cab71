# bot.sh ROOM NAME COMMAND...: gives each text that begins with NAME to a command, and answers with what that prints.
room=$1 name=$2 again=--again # at first: the message with which the last run was stopped, once more
shift 2
touch answered # ids: a message may come twice
while message=$(unibus wait "$room" --json $again); do
  again=
  id=$(jq -r .id <<< "$message")
  text=$(jq -r 'select(.kind == "text" and (.hops // 0) < 8).text' <<< "$message")
  if [[ $text != "$name"* ]] || grep -qxF -e "$id" answered; then continue; fi
  answer=$("$@" <<< "${text#"$name"}") || exit 1
  hops=$(jq '(.hops // 0) + 1' <<< "$message")
  unibus send "$room" --reply-to "$id" --hops "$hops" -- "$answer" || exit 1
  echo "$id" >> answered
done
