"""Serving the page until it is interrupted."""

import sys

import gradio as gr

from diip_jax.terminal import say
from diip_jax.web_parts import STYLE

# Gradio's own themes fetch their fonts from the web.
_THEME = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
_STYLE = f"""{STYLE}
.dj-row{{display:flex;flex-wrap:wrap;gap:16px}}
.dj-row figure{{margin:0}}
.dj-error{{padding:10px 14px;border-left:4px solid #c4482f;background:#c4482f22}}
"""


def serve(blocks: gr.Blocks, host: str, port: int, megabytes: float, *, block: bool = True) -> str:
    """Serves the page; returns its address, at once where `block` is false.

    Raises:
        ValueError: the address or port cannot be had.
    """
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port,
            max_file_size=int(megabytes * 1e6),
            prevent_thread_lock=True,
            show_error=True,
            quiet=True,
            share=False,
            footer_links=[],
            theme=_THEME,
            css=_STYLE,
        )
    except OSError as error:
        where = f"--host={host} --port={port}"
        raise ValueError(f"{where}: cannot listen there, it is taken or not allowed; choose another --port") from error
    if block:
        say(f"open {address} (Ctrl-C ends it)", sys.stdout)
        blocks.block_thread()
    return str(address)
