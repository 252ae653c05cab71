import { CliCommand } from "../cli-command.ts";
import { addInviteCommands } from "./invite.ts";
import { addListCommands } from "./lists.ts";
import { addUserCommands } from "./user.ts";

/** The commands `admin ...`: what an admin does from anywhere, by signed requests. */
export function adminCommand(): CliCommand {
  const command = new CliCommand("admin", {
    summary: "manage a bus from anywhere, as an admin: users, invites, rooms, connections, usage",
    example: "unibus admin user list --url https://bus.example.org",
  });
  addUserCommands(command);
  addInviteCommands(command);
  addListCommands(command);
  return command;
}
