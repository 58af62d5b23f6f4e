"""What another Cython module may cimport from fastfan (contract in _embedding.pxd); all else is the engine's own."""

from fastfan._embedding cimport (
    FASTFAN_ABI, fastfan_abi, fastfan_check_abi, fastfan_epoch, fastfan_message, fastfan_next_offset, fastfan_publish,
    fastfan_publish_many, fastfan_roomy, fastfan_subscribers, fastfan_topic, fastfan_topic_handle,
)
