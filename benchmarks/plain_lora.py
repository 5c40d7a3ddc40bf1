"""What plain ``lora`` costs: ``python benchmarks/plain_lora.py [--rank 8] [--dropout 0.05] …``.

Optimizer steps on MiniLM with adapters at q and v, against Hugging Face PEFT's LoRA in a plain
training loop, and against the same heads on the frozen model alone. All train the same heads with
the same optimizer on the same batch, which each collates anew, and clip the same norm.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from measuring import Step, compare, parser_of
from sessions import add_batch, evenly, fix_batch, recipe_of, session_of
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from mtlora_core.train.session import Session
from mtlora_core.train.step import take_step


class PlainLoop:
    """A training loop of one's own around a module that stands in for a session's backbone.

    Takes the session's batches, heads and optimizer's options; of its model nothing else.
    """

    def __init__(self, session: Session, module: nn.Module) -> None:
        self.session, self.module = session, module
        self.backbone, self.heads = session.model.backbone, deepcopy(session.model.heads)
        adapters = [p for p in module.parameters() if p.requires_grad]
        self.parameters = [*adapters, *self.heads.parameters()]
        train = session.options
        self.optimizer = AdamW(
            self.parameters, lr=train.learning_rate, weight_decay=train.weight_decay
        )

    def step(self) -> None:
        """Take an optimizer step."""
        session = self.session
        batch = session.train.batch(session.picks())
        device = session.engine.device
        inputs = batch.inputs.to(device)
        hidden = self.module(**inputs.tensors).last_hidden_state
        features = self.backbone.pool(hidden, inputs.mask)
        ids, labels = torch.tensor(batch.task_ids), batch.labels.long().to(device)
        losses = [
            functional.cross_entropy(head(features[rows]), labels[rows], reduction="sum")
            for task, head in enumerate(self.heads)
            if len(rows := (ids == task).nonzero()[:, 0].to(device))
        ]
        (torch.stack(losses).sum() / len(labels)).backward()
        clip_grad_norm_(self.parameters, session.options.clip or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def peft_of(session: Session, options: argparse.Namespace) -> nn.Module:
    """Return PEFT's LoRA on a copy of a session's frozen model, with B that is not 0."""
    import peft  # after the backbone, which prepares what peft imports

    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=2 * options.rank,
        lora_dropout=options.dropout,
        target_modules=["query", "value"],
    )
    with bare(session) as module:
        adapted: Any = peft.get_peft_model(deepcopy(module), config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=1e-3)
    return adapted.train()  # type: ignore[no-any-return]


@contextmanager
def bare(session: Session) -> Iterator[nn.Module]:
    """Give the frozen model as it was without adapters, for a copy to be made."""
    adapters, module = session.model.adapters, session.model.backbone.module
    adapters.detach()
    yield module
    adapters.attach(module)


def main() -> None:
    """Run the comparisons that the command asks for."""
    parser = parser_of(__doc__)
    add_batch(parser)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.05)
    options = parser.parse_args()
    parts = {
        "placement": {"use": "component", "at": ["q", "v"]},
        "experts": {
            "use": "lora",
            "rank": options.rank,
            "alpha": 2 * options.rank,
            "dropout": options.dropout,
        },
    }
    session = session_of(recipe_of(parts), options.tasks, options)
    fix_batch(session, evenly(options.tasks, options.examples))
    with bare(session) as module:
        heads_alone = PlainLoop(session, deepcopy(module))
    steps: dict[str, Step] = {
        "ours": partial(take_step, session),
        "PEFT in a plain loop": PlainLoop(session, peft_of(session, options)).step,
        "heads on the frozen model": heads_alone.step,
    }
    shape = {name: getattr(options, name) for name in ("rank", "dropout", "examples", "tokens")}
    compare("plain-lora", steps, shape, options)


if __name__ == "__main__":
    main()
