"""Files of the Hugging Face hub, through its own library, whose cache and variables hold."""

import os
import re
from itertools import product
from pathlib import Path

from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file

# Not what is rather the path of a file.
_HUB_NAME = re.compile(r"(?!.*\.(?:pt|pth|ckpt|bin|zip|safetensors)$)\w[\w.-]*/[\w.-]+(@[\w./-]+)?")
_HUB_PAGE = re.compile(
    r"https://huggingface\.co/([^/]+/[^/?]+)(?:/(?:resolve|blob|tree)/([^/?]+)(?:/([^?]+))?)?/?(?:\?.*)?"
)


def is_hub_name(source: str) -> bool:
    """Whether it reads like ``owner/name`` or ``owner/name@revision``, and is no path here.

    What lies in a folder that is here, as a mistyped ``exp/name``, is no name either.
    """
    return bool(_HUB_NAME.fullmatch(source)) and not Path(source).parent.is_dir()


def split_hub_address(url: str) -> tuple[str, str] | None:
    """Return ``owner/name@revision`` and the file, or "", that an address of the hub names."""
    found = _HUB_PAGE.fullmatch(url)
    return (f"{found[1]}@{found[2] or 'main'}", found[3] or "") if found else None


def fetch_hub_file(repository: str, *files: str) -> Path:
    """Return the local copy of the first of some files that ``owner/name[@revision]`` holds.

    What the library's cache holds is taken as it is, without a look at the hub: ``main`` may have
    moved there since, and two stages of a run are to have the same file.

    Returns:
        Its place in the cache, in a folder that is named by the commit.

    Raises:
        FeatnormError: it cannot be had, or what the cache holds of it is damaged.
    """
    from huggingface_hub import hf_hub_download

    name, _, revision = (repository + "@main" * ("@" not in repository)).partition("@")
    failure: Exception | None = None
    for cached, file in product((True, False), files):
        try:
            path = Path(hf_hub_download(name, file, revision=revision, local_files_only=cached))
        except Exception as error:  # the library's own, its HTTP library's, the system's
            failure = error
            continue
        # The link of a large file in the cache names its SHA-256.
        wanted = os.path.basename(os.readlink(path)) if path.is_symlink() else ""
        if re.fullmatch("[0-9a-f]{64}", wanted) and sha256_file(path) != wanted:
            raise FeatnormError(f"{path} is damaged: remove it and {path.resolve()}, run again")
        return path
    reason = " ".join(str(failure).split())[:300]
    fault = f"{name} is not here, and Hugging Face does not give {' or '.join(files)} of it"
    one = files if len(files) == 1 else ()
    fault += "" if one else " (weights in parts are not read)"
    mend = f"run {' '.join(['hf download', name, *one, '--revision', revision])} where there is a"
    mend += " network and copy its cache here, or name a file or folder that is here"
    raise FeatnormError(f"{fault}: {mend}: {reason}") from failure


def fetch_hub_folder(repository: str, config: str, *weights: str) -> Path:
    """Fetch a configuration and the first of some weights, of one commit; return their folder."""
    folder = fetch_hub_file(repository, config).parent
    fetch_hub_file(f"{repository.partition('@')[0]}@{folder.name}", *weights)
    return folder
