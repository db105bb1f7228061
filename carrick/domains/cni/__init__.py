"""CNI as a caller sees it, 1.1.0 and back to 0.1.0: configurations, calls and results. Pure."""

from .conflist import ConfigurationList, PluginConfiguration, parse_configuration
from .invocation import Command, Invocation, check_wishes, plan_add, plan_check, plan_remove, runtime_config
from .result import Refusal, parse_refusal, parse_result

__all__ = [
    "Command",
    "ConfigurationList",
    "Invocation",
    "PluginConfiguration",
    "Refusal",
    "check_wishes",
    "parse_configuration",
    "parse_refusal",
    "parse_result",
    "plan_add",
    "plan_check",
    "plan_remove",
    "runtime_config",
]
