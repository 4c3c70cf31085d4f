"""Bot API methods about the bot itself: getMe, webhook, commands, profile."""

from collections.abc import Callable
from typing import Any

from sandbox.args import Args
from sandbox.errors import bad_request
from sandbox.shapes import Json
from sandbox.updates import DEFAULT_KINDS
from sandbox.world import World


def get_me(world: World, _: Args) -> Json:
    """GetMe: return the bot's User."""
    return {
        **world.bot,
        "can_join_groups": True,
        "can_read_all_group_messages": True,
        "supports_inline_queries": False,
        "supports_guest_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
        "has_topics_enabled": False,
        "allows_users_to_create_topics": False,
        "can_manage_bots": False,
    }


def delete_webhook(world: World, args: Args) -> bool:
    """DeleteWebhook: there never is one, but drop_pending_updates and allowed_updates count."""
    if args.text("url"):
        raise bad_request("the sandbox sends no webhooks: poll with getUpdates")
    world.queue.allow(args.text("allowed_updates"))
    if args.boolean("drop_pending_updates"):
        world.queue.keep_last(0)
    return True


def get_webhook_info(world: World, _: Args) -> Json:
    """GetWebhookInfo: return the number of waiting updates, and allowed_updates when not the default."""
    info: Json = {
        "url": "",
        "has_custom_certificate": False,
        "pending_update_count": len(world.queue.waiting()),
    }
    if world.queue.allowed != DEFAULT_KINDS:
        info["allowed_updates"] = sorted(world.queue.allowed)
    return info


def accept(_: World, __: Args) -> bool:
    """Accept a setting of the bot's profile that nothing in the sandbox depends on."""
    return True


def set_my_commands(world: World, args: Args) -> bool:
    """SetMyCommands: store a list of commands."""
    world.commands.set(args)
    return True


def get_my_commands(world: World, args: Args) -> list[Json]:
    """GetMyCommands: return a list of commands."""
    return world.commands.get(args)


def delete_my_commands(world: World, args: Args) -> bool:
    """DeleteMyCommands: delete a list of commands."""
    world.commands.delete(args)
    return True


METHODS: dict[str, Callable[[World, Args], Any]] = {
    "getMe": get_me,
    "deleteWebhook": delete_webhook,
    "setWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    "setMyName": accept,
    "setMyDescription": accept,
    "setMyShortDescription": accept,
    "setChatMenuButton": accept,
}
