//! Devices, buffers and the persistent kernel, over the CUDA driver
