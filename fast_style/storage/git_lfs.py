"""The small text files that Git LFS leaves in place of files that it has not fetched."""

__all__ = ["LFS_DESCRIPTION", "LFS_SIGNATURE"]

LFS_SIGNATURE = b"version https://git-lfs.github.com/spec/"
"""How they begin."""

LFS_DESCRIPTION = "a Git LFS pointer and not the file itself: git lfs pull fetches it"
"""What they are, for messages."""
