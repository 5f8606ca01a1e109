"""How a saved model reads a conversation, without its weights."""

from pathlib import Path

from assay.data.contract import Contract, Renderer, make_contract
from assay.errors import BackboneError, CheckpointError
from assay.models.backbones import load_tokenizer
from assay.models.checkpoint import ASSAY_FILE, check_format, local_directory, read_json
from assay.models.ensemble_checkpoint import is_ensemble


def load_renderer(name: str | Path) -> Renderer:
    """The contract and tokenizer of a run, an ensemble (its first part's) or another directory.

    The contract of a directory that Assay did not write is inferred from its tokenizer.

    Raises:
        CheckpointError: If there is no tokenizer, or the record is damaged.
        ContractError: If a tokenizer without a record ends a response with nothing.
    """
    path = local_directory(name)
    if is_ensemble(path):
        path = path / str(read_json(path / ASSAY_FILE, "parts")["parts"][0]["directory"])
    try:
        tokenizer = load_tokenizer(str(path))
    except BackboneError as error:
        raise CheckpointError(f"{name} cannot be loaded: {error}") from error
    if not (path / ASSAY_FILE).is_file():
        return Renderer(make_contract(tokenizer, max_length=1, truncation="error"), tokenizer)
    record = read_json(path / ASSAY_FILE, "format", "contract")
    check_format(path, record)
    return Renderer(Contract.from_dict(record["contract"]), tokenizer)
