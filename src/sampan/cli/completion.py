"""Print a completion script: eval "$(sampan completion bash)"."""

import argparse

from sampan.cli.main import COMMANDS

_BASH = """_sampan() {{
  if [ "$COMP_CWORD" -eq 1 ]; then COMPREPLY=($(compgen -W "{commands}" -- "${{COMP_WORDS[1]}}"))
  elif [ "${{COMP_WORDS[1]}}" = image ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "load import list save rm" -- "${{COMP_WORDS[2]}}"))
  elif [ "${{COMP_WORDS[1]}}" = sim ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "run" -- "${{COMP_WORDS[2]}}"))
  elif [[ "${{COMP_WORDS[1]}}" =~ ^(enable|disable|run)$ ]] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "{layers}" -- "${{COMP_WORDS[2]}}"))
  else COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}")); fi
}}
complete -o default -F _sampan sampan"""
_ZSH = """#compdef sampan
_sampan() {{ local -a commands; commands=({described}); _describe command commands }}
compdef _sampan sampan"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(arguments: argparse.Namespace) -> int:
    """Prints the script of the chosen shell."""
    if arguments.shell == "bash":
        from sampan.cluster import layers

        print(_BASH.format(commands=" ".join(COMMANDS), layers=" ".join(layers.names())))
    elif arguments.shell == "zsh":
        print(_ZSH.format(described=" ".join(f"'{name}:{text}'" for name, text in COMMANDS.items())))
    else:
        for name, text in COMMANDS.items():
            print(f"complete -c sampan -n __fish_use_subcommand -f -a {name} -d '{text}'")
    return 0
