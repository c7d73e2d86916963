"""Files of compiled kernels, where several processes write them at once.

numba numbers the files of a function's compiled forms by what its index lists. Two processes that
compile one function for different types at the same time then take the same number, and the index
leads from the types of one to the machine code of the other. Here no two files have the same name.
What an index lacks since another process wrote it meanwhile is compiled again.
"""

from __future__ import annotations

import uuid

from numba.core.caching import IndexDataCacheFile


def _name_of_its_own(files: IndexDataCacheFile, number: int) -> str:
    return f"{files._index_name.removesuffix('.nbi')}.{uuid.uuid4().hex}.nbc"


def name_files_apart() -> None:
    """Have each file of a compiled kernel that this process writes named like no other."""
    IndexDataCacheFile._data_name = _name_of_its_own  # type: ignore[method-assign]
